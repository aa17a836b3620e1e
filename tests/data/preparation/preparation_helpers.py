"""Texts to prepare, and what was prepared of them."""

import hashlib
import json
import random
from pathlib import Path

from jaxlm.data.prepared import MANIFEST, PreparedRecords

WORDS = ["the", "sea", "of", "small", "boats", "sang", "床前明月光", "naïve", "🐟", "and", "then,", "heard"]


def paragraphs(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [
        "\n".join(
            f"{number} " + " ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(draw.randint(1, 3))
        )
        for number in range(count)
    ]


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(texts)))
    return path


def texts_of(folder: Path) -> list[str]:
    records = PreparedRecords(folder)
    return [record["text"].decode() for record in records.__getitems__(range(len(records)))]


def places_of(folder: Path) -> list[str]:
    records = PreparedRecords(folder)
    return [record.place for record in records.records(range(len(records)))]


def contents_of(folder: Path) -> dict[str, str]:
    """The hash of each file that a preparation leaves."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def manifest_hash(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
