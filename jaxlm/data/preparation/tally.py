"""What became of the documents: how many were read, kept, dropped and corrupt, by reason, with samples."""

from typing import Any

from jaxlm.data.preparation.found import Corrupt, Found

SAMPLES = 3  # of each reason
SAMPLE_CHARACTERS = 200


class Tally:
    """Counts of a unit of work, or of all: plain values, so that they can be kept as JSON and added up in order.

    Attributes:
      facts: the counts. `read` = `kept` + all of `dropped`, in documents and in bytes; `corrupt` is beside them.
    """

    def __init__(self, facts: dict[str, Any] | None = None):
        """Starts from `facts` of another one, or from nothing."""
        self.facts = facts or {
            "read": {"documents": 0, "text_bytes": 0},
            "kept": {"documents": 0, "text_bytes": 0, "characters": 0, "tokens": 0},
            "dropped": {},
            "corrupt": {},
            "scrubbed": {},
        }

    def read(self, text_bytes: int) -> None:
        """Counts a document that was read."""
        self.facts["read"]["documents"] += 1
        self.facts["read"]["text_bytes"] += text_bytes

    def keep(self, characters: int, text_bytes: int, tokens: int, lost_bytes: int = 0) -> None:
        """Counts a document that was written; `lost_bytes` is how much shorter scrubbing made it."""
        kept = self.facts["kept"]
        kept["documents"] += 1
        kept["text_bytes"] += text_bytes
        kept["characters"] += characters
        kept["tokens"] += tokens
        if lost_bytes:
            kept["scrubbed_bytes"] = kept.get("scrubbed_bytes", 0) + lost_bytes

    def drop(self, found: Found, text_bytes: int, reason: str, detail: str = "") -> None:
        """Counts a document that was left out; `detail` says more in the sample."""
        entry = self.facts["dropped"].setdefault(reason, {"documents": 0, "text_bytes": 0, "samples": []})
        entry["documents"] += 1
        entry["text_bytes"] += text_bytes
        if len(entry["samples"]) < SAMPLES:
            sample = {"place": found.place, "text": found.text[:SAMPLE_CHARACTERS]}
            entry["samples"].append({**sample, "detail": detail} if detail else sample)

    def corrupt(self, item: Corrupt) -> None:
        """Counts something that is no document."""
        entry = self.facts["corrupt"].setdefault(item.reason, {"records": 0, "bytes": 0, "samples": []})
        entry["records"] += 1
        entry["bytes"] += item.size
        if len(entry["samples"]) < SAMPLES:
            entry["samples"].append({"place": item.place, "problem": item.problem})

    def scrub(self, kind: str, count: int) -> None:
        """Counts replacements in texts."""
        self.facts["scrubbed"][kind] = self.facts["scrubbed"].get(kind, 0) + count

    def add(self, other: dict[str, Any]) -> None:
        """Adds the facts of another tally, which follows in the corpus."""
        _add(self.facts, other)


def _add(into: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in other.items():
        if isinstance(value, dict):
            _add(into.setdefault(name, {}), value)
        elif isinstance(value, list):
            into[name] = (into.get(name, []) + value)[:SAMPLES]
        else:
            into[name] = into.get(name, 0) + value
