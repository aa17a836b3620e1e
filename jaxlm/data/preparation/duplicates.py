"""Documents that were there before, exactly or nearly: fingerprints of each unit, then one pass over all of them.

Exact copies have the same hash. For near ones, a document is the set of its runs of five words; MinHash (Broder 1997)
keeps 128 numbers of it, whose share in common estimates how much two sets overlap (their Jaccard index), and bands of
these find candidates without comparing all pairs (Leskovec et al., "Mining of Massive Datasets", section 3.4). Both by
datasketch. A document is dropped if it is like the first one of the corpus in a band of its; the first one stays.

All fingerprints of a unit are files. The pass goes through the range of hashes in parts, so that its memory is bounded.
"""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.errors import UsageError
from jaxlm.text.segmentation import plain_words

PERMUTATIONS = 128
_SHINGLE = 5
_PART_ROWS = 1 << 21  # rows of fingerprints in memory at a time
_OPEN_FILES = 64

KEYS = np.dtype([("high", "<u8"), ("low", "<u8"), ("index", "<u4")])
DROPS = np.dtype([("index", "<u4"), ("near", "<u4"), ("like_unit", "<u4"), ("like_index", "<u4")])


@dataclass(frozen=True)
class Fingerprinter:
    """Makes fingerprints of texts.

    Attributes:
      threshold: the share of runs of words that near copies have in common; None for exact copies alone.
    """

    threshold: float | None = None

    @cached_property
    def bands(self) -> tuple[int, int]:
        """How many bands there are, and how many numbers are in each.

        Raises:
          UsageError: datasketch is not installed.
        """
        assert self.threshold is not None
        index = require_datasketch().MinHashLSH(threshold=self.threshold, num_perm=PERMUTATIONS)
        return index.b, index.r

    def exact(self, text: str) -> bytes:
        """Returns 16 bytes that tell a text from others."""
        return sha256(text.encode()).digest()[:16]

    def signature(self, text: str) -> np.ndarray | None:
        """Returns the text's MinHash, [128] of uint32 or uint64; None for a text without words."""
        words = plain_words(text)
        if not words:
            return None
        count = max(len(words) - _SHINGLE + 1, 1)
        shingles = {" ".join(words[start : start + _SHINGLE]).encode() for start in range(count)}
        minhash = _empty_minhash().copy()  # making one draws the permutations anew
        minhash.update_batch(sorted(shingles))
        return minhash.hashvalues

    def band_keys(self, signature: np.ndarray) -> list[bytes]:
        """Returns 16 bytes for each band of a signature."""
        count, size = self.bands
        return [
            sha256(bytes([band]) + signature[band * size : (band + 1) * size].tobytes()).digest()[:16]
            for band in range(count)
        ]


def write_fingerprints(fingerprinter: Fingerprinter, texts: Iterable[str], prefix: Path) -> None:
    """Writes the fingerprints of a unit's texts: PREFIX.exact.npy, and for near copies PREFIX.near and .signatures."""
    exact: list[tuple[bytes, int]] = []
    near: list[tuple[bytes, int]] = []
    signatures: list[np.ndarray] = []
    empty = np.zeros(PERMUTATIONS, np.uint32)
    for index, text in enumerate(texts):
        exact.append((fingerprinter.exact(text), index))
        if fingerprinter.threshold is not None:
            signature = fingerprinter.signature(text)
            signatures.append(empty if signature is None else signature.astype(np.uint32))
            if signature is not None:
                near += [(key, index) for key in fingerprinter.band_keys(signature)]
    if fingerprinter.threshold is not None:
        _save(prefix, "signatures", np.array(signatures, np.uint32).reshape(-1, PERMUTATIONS))
        _save(prefix, "near", _sorted_keys(near))
    _save(prefix, "exact", _sorted_keys(exact))  # last: the unit's are whole once this is there


def find_duplicates(
    prefixes: list[Path], threshold: float | None, progress: Callable[[str], None] = lambda _: None
) -> None:
    """Reads the fingerprints of all units, in the order of the corpus, and writes PREFIX.drops for each."""
    for prefix in prefixes:
        _file(prefix, "drops").unlink(missing_ok=True)
    for kind in ("exact",) if threshold is None else ("exact", "near"):
        total = sum(len(_open(prefix, kind)) for prefix in prefixes)
        parts = max(1, math.ceil(total / _PART_ROWS))
        for part in range(parts):
            progress(f"{kind} copies, part {part + 1} of {parts}")
            rows = _part(prefixes, kind, part, parts)
            later, first = _copies(rows)
            if threshold is not None and kind == "near":
                alike = _alike(prefixes, later, first, threshold)
                later, first = later[alike], first[alike]
            _append(prefixes, later, first, near=kind == "near")


def read_drops(prefix: Path) -> dict[int, tuple[str, str]]:
    """Returns, by index, which documents of a unit to drop, and why: (reason, detail)."""
    path = _file(prefix, "drops")
    if not path.exists():
        return {}
    rows = np.fromfile(path, DROPS)
    # Exact before near, then like the earliest: a near copy may be found in several bands.
    rows = rows[np.lexsort((rows["like_index"], rows["like_unit"], rows["near"], rows["index"]))]
    rows = rows[np.concatenate(([True], rows["index"][1:] != rows["index"][:-1]))]
    return {
        int(row["index"]): (
            "near_duplicate" if row["near"] else "exact_duplicate",
            f"of document {row['like_index']} of unit {row['like_unit']}",
        )
        for row in rows
    }


def has_fingerprints(prefix: Path) -> bool:
    """Whether a unit's fingerprints are written."""
    return _file(prefix, "exact").exists()


def _part(prefixes: list[Path], kind: str, part: int, parts: int) -> np.ndarray:
    """Returns the keys in one of `parts` ranges: rows of (high, low, unit, index), sorted, equal keys in order."""
    low = part * 2**64 // parts
    high = (part + 1) * 2**64 // parts
    found = []
    for unit, prefix in enumerate(prefixes):
        keys = _open(prefix, kind)
        start = 0 if low == 0 else int(np.searchsorted(keys["high"], np.uint64(low)))
        stop = len(keys) if high == 2**64 else int(np.searchsorted(keys["high"], np.uint64(high)))
        piece = np.empty(stop - start, [*KEYS.descr, ("unit", "<u4")])
        for name in ("high", "low", "index"):
            piece[name] = keys[name][start:stop]
        piece["unit"] = unit
        found.append(piece)
    rows = np.concatenate(found)
    return rows[np.lexsort((rows["index"], rows["unit"], rows["low"], rows["high"]))]


def _copies(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns all rows but the first of each key, and for each the first."""
    if not len(rows):
        return rows, rows
    new = np.concatenate(([True], (rows["high"][1:] != rows["high"][:-1]) | (rows["low"][1:] != rows["low"][:-1])))
    starts = np.maximum.accumulate(np.where(new, np.arange(len(rows)), 0))
    return rows[~new], rows[starts[~new]]


def _alike(prefixes: list[Path], later: np.ndarray, first: np.ndarray, threshold: float) -> np.ndarray:
    """Returns for each pair whether its signatures agree to `threshold`."""

    @lru_cache(maxsize=_OPEN_FILES)
    def signatures(unit: int) -> np.ndarray:
        return _open(prefixes[unit], "signatures")

    alike = np.zeros(len(later), bool)
    for pair, (one, other) in enumerate(zip(later, first, strict=True)):
        same = signatures(int(one["unit"]))[one["index"]] == signatures(int(other["unit"]))[other["index"]]
        alike[pair] = np.mean(same) >= threshold
    return alike


def _append(prefixes: list[Path], later: np.ndarray, first: np.ndarray, near: bool) -> None:
    drops = np.empty(len(later), DROPS)
    drops["index"], drops["near"] = later["index"], near
    drops["like_unit"], drops["like_index"] = first["unit"], first["index"]
    order = np.argsort(later["unit"], kind="stable")
    units = later["unit"][order]
    for unit in np.unique(units):
        start, stop = np.searchsorted(units, unit), np.searchsorted(units, unit, side="right")
        with open(_file(prefixes[unit], "drops"), "ab") as file:
            file.write(drops[order[start:stop]].tobytes())


def _sorted_keys(entries: list[tuple[bytes, int]]) -> np.ndarray:
    keys = np.empty(len(entries), KEYS)
    digests = np.frombuffer(b"".join(digest for digest, _ in entries), ">u8").reshape(-1, 2)
    keys["high"], keys["low"] = digests[:, 0], digests[:, 1]
    keys["index"] = [index for _, index in entries]
    return keys[np.lexsort((keys["index"], keys["low"], keys["high"]))]


def _file(prefix: Path, kind: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{kind}" + ("" if kind == "drops" else ".npy"))


def _save(prefix: Path, kind: str, array: np.ndarray) -> None:
    temporary = prefix.with_name(f"{prefix.name}.{kind}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, _file(prefix, kind))


def _open(prefix: Path, kind: str) -> np.ndarray:
    return np.load(_file(prefix, kind), mmap_mode="r", allow_pickle=False)


def require_datasketch() -> Any:
    """Returns the library datasketch; raises UsageError if it is not installed."""
    try:
        import datasketch
    except ImportError as error:
        raise UsageError("deduplicate 'near' needs datasketch: pip install 'jaxlm[filters]'") from error
    return datasketch


@lru_cache(maxsize=1)
def _empty_minhash() -> Any:
    return require_datasketch().MinHash(PERMUTATIONS, seed=1)
