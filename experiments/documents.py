"""Writes the documents of two sets as JSON Lines: poems of chinese_poetry, chapters of war_and_peace.

    JAXLM_DATA=/path/to/data python experiments/documents.py documents

A poem is its tune and its lines, a chapter what stands between two headings, without Project Gutenberg's own words.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def poems(data: Path) -> Iterator[str]:
    """Song ci: the tune's name, and the lines (a sentence each)."""
    for path in sorted((data / "chinese_poetry" / "宋词").glob("ci.song.*.json")):
        for poem in json.loads(path.read_text("utf-8")):
            lines = [line for line in poem["paragraphs"] if line.strip()]
            if lines:
                yield "\n".join([poem["rhythmic"], *lines])


def chapters(data: Path) -> Iterator[str]:
    """Chapters of the novel, without headings, a paragraph a line."""
    text = (data / "war_and_peace" / "warandpeace.txt").read_text("utf-8-sig")
    novel = text.partition("*** START OF")[2].partition("\n")[2].partition("End of the Project Gutenberg")[0]
    # The table of contents indents its headings.
    for chapter in re.split(r"^CHAPTER [IVXL]+$", novel, flags=re.MULTILINE)[1:]:
        kept = re.split(r"^(?:BOOK [A-Z]+|FIRST EPILOGUE|SECOND EPILOGUE)\b.*$", chapter, flags=re.MULTILINE)[0]
        paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", kept))
        yield "\n".join(paragraph for paragraph in paragraphs if paragraph)


def write(path: Path, texts: Iterable[str]) -> None:
    """Writes a record {"text": ...} a line, and prints how many there are."""
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
    path.write_text("".join(lines), "utf-8")
    print(f"{path}: {len(lines):,} documents, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder, data = Path(sys.argv[1]), Path(os.environ.get("JAXLM_DATA", "data"))
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "poems.jsonl", poems(data))
    write(folder / "chapters.jsonl", chapters(data))
