"""Preparing with stages: each says what it dropped; copies are found across shards; still the same for any workers."""

import random

import pytest

from jaxlm.data.preparation import duplicates
from jaxlm.data.preparation.run import prepare
from jaxlm.errors import UsageError

from .preparation_helpers import contents_of, texts_of, write_jsonl


def story(seed: int, words: int = 60) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5000)}" for _ in range(words)]


def corpus(count: int = 30) -> tuple[list[str], list[str], list[str]]:
    """Texts, those among them that are copies, and those that are nearly."""
    texts = [" ".join(story(seed)) for seed in range(count)]
    copies = [texts[1], texts[5], texts[1]]
    near = []
    for seed in (2, 7, 11):
        words = story(seed)
        words[30] = "changed"
        near.append(" ".join(words) + "!")
    return [*texts, *copies, *near], copies, near


def test_exact_copies_are_dropped_and_the_first_stays(tmp_path, config_of):
    texts, copies, near = corpus()
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    config = config_of(path, source="jsonl", deduplicate="exact")
    manifest = prepare(config, tmp_path / "one", 1)
    assert len(manifest["shards"]) > 10
    assert texts_of(tmp_path / "one") == [*texts[:30], *near]
    entry = manifest["dropped"]["exact_duplicate"]
    assert (entry["documents"], entry["text_bytes"]) == (3, sum(len(text) for text in copies))
    assert entry["samples"][0]["text"] == copies[0][:200]
    assert entry["samples"][0]["detail"].startswith("of document ")
    prepare(config, tmp_path / "two", 2)
    assert contents_of(tmp_path / "one") == contents_of(tmp_path / "two")


def test_near_copies_are_dropped_too(tmp_path, config_of, monkeypatch):
    pytest.importorskip("datasketch")
    texts, _, near = corpus()
    path = write_jsonl(tmp_path / "a.jsonl", [*texts, ".", "!", ""])
    config = config_of(path, source="jsonl", deduplicate="near", near_threshold=0.7)
    manifest = prepare(config, tmp_path / "one", 1)
    assert texts_of(tmp_path / "one") == [*texts[:30], ".", "!"]  # without words, nothing is like another
    counts = {reason: entry["documents"] for reason, entry in manifest["dropped"].items()}
    assert counts == {"exact_duplicate": 3, "near_duplicate": 3, "empty": 1}
    assert manifest["dropped"]["near_duplicate"]["samples"][0]["text"] == near[0][:200]
    # The pass over the fingerprints gives the same in many small parts.
    monkeypatch.setattr(duplicates, "_PART_ROWS", 10)
    prepare(config, tmp_path / "two", 1)
    assert contents_of(tmp_path / "one") == contents_of(tmp_path / "two")


def test_what_is_merely_similar_stays(tmp_path, config_of):
    pytest.importorskip("datasketch")
    words = story(1)
    texts = [" ".join(words), " ".join(words[:30] + story(2)[:30])]
    config = config_of(write_jsonl(tmp_path / "a.jsonl", texts), source="jsonl", deduplicate="near")
    prepare(config, tmp_path / "out", 1)
    assert texts_of(tmp_path / "out") == texts


def test_all_stages_add_up(tmp_path, config_of):
    pytest.importorskip("py3langid")
    english = "The boat came back in the rain. The men of the town stood on the pier. It was whole. They went home. "
    card = english + "Call 415-555-2671 or write to a.b@example.com."
    texts = [
        card,
        card,
        "Das Boot kam zurück. Es war im Regen. Die Männer standen am Hafen. Sie gingen heim. Es war Nacht. So war es.",
        english + "One two three four five six seven eight nine ten eleven twelve thirteen fourteen.",
        english + "And so on {",
        "The boat came back in the rain.",
        "",
    ]
    numbers = "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen"
    (tmp_path / "eval.txt").write_text(numbers)
    config = config_of(
        write_jsonl(tmp_path / "a.jsonl", texts),
        source="jsonl",
        deduplicate="exact",
        quality=("c4",),
        languages=("en",),
        decontaminate=(str(tmp_path / "eval.txt"),),
        scrub_personal=True,
    )
    manifest = prepare(config, tmp_path / "out", 1)
    assert {reason: entry["documents"] for reason, entry in manifest["dropped"].items()} == {
        **{"exact_duplicate": 1, "language": 1, "contaminated": 1, "c4_curly_bracket": 1, "c4_sentences": 1},
        "empty": 1,
    }
    assert manifest["dropped"]["contaminated"]["samples"][0]["detail"] == f"{tmp_path / 'eval.txt'}:1"
    assert manifest["scrubbed"] == {"email": 1, "phone": 1}
    assert texts_of(tmp_path / "out") == [english + "Call <PHONE> or write to <EMAIL>."]
    dropped = sum(entry["text_bytes"] for entry in manifest["dropped"].values())
    kept = manifest["kept"]
    assert manifest["read"]["text_bytes"] == kept["text_bytes"] + kept["scrubbed_bytes"] + dropped
    (tmp_path / "eval.txt").write_text(numbers + ", fourteen")
    with pytest.raises(UsageError, match="other settings"):
        prepare(config, tmp_path / "out", 1)
