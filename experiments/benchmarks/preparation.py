"""Throughput of `jaxlm data prepare` in one process: MB of text a second of processor time, and of wall time.

    python experiments/benchmarks/preparation.py [--files wikitext2/train.txt] [--megabytes 40] [--vocab-size 8192]

The text (tiny Shakespeare, unless files are named) is repeated up to the size; each line then ends in a number, so that
no two documents are the same. Reading, tokenising, filters, compressing, hashing and syncing the shards all count;
learning the vocabulary does not. Processor time is that of one core: the second figure is what a machine that does
nothing else would give.
"""

import argparse
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.data.preparation.run import prepare
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

# What is measured: the tokenizer, and the stages.
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("unigram", {}),
    ("sentencepiece bpe", {}),
    ("wordpiece", {}),
    ("byte-level bpe", {}),
    ("unigram", {"deduplicate": "exact"}),
    ("unigram", {"deduplicate": "near"}),
    ("unigram", {"quality": ("gopher_repetition",)}),
    ("unigram", {"languages": ("en",)}),
    ("unigram", {"scrub_personal": True}),
)


def tokenizers(size: int) -> dict[str, TokenizerConfig]:
    """The tokenizers by name."""
    return {
        "unigram": TokenizerConfig("sentencepiece", size),
        "sentencepiece bpe": TokenizerConfig("sentencepiece", size, algorithm="bpe"),
        "wordpiece": TokenizerConfig("wordpiece", size),
        "byte-level bpe": TokenizerConfig("bpe", size),
    }


def write_text(paths: list[Path], size: int, out: Path) -> list[str]:
    """Writes about `size` bytes of numbered paragraphs and returns the original ones."""
    texts = [path.read_text("utf-8") for path in paths]
    paragraphs = [part for text in texts for part in text.split("\n\n") if part.strip()]
    if len(paragraphs) < 100:  # WikiText's paragraphs are lines
        paragraphs = [part for text in texts for part in text.split("\n") if part.strip()]
    written = number = 0
    with open(out, "w", encoding="utf-8") as file:
        while written < size:
            paragraph = f"{paragraphs[number % len(paragraphs)]} {number}\n\n"
            written += len(paragraph.encode())
            number += 1
            file.write(paragraph)
    return paragraphs


def main() -> None:
    """Measures each case once and prints a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float, default=40)
    parser.add_argument("--vocab-size", type=int, default=8192)
    arguments = parser.parse_args()
    files = arguments.files or [Path(str(resources.files("jaxlm.data").joinpath("embedded/tiny_shakespeare.txt")))]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        paragraphs = write_text(files, int(arguments.megabytes * 1e6), work / "text.txt")
        for name, learned in tokenizers(arguments.vocab_size).items():
            train_tokenizer(learned, paragraphs).save(work / name)
        print(f"{'tokenizer':18} {'stages':38} {'MB/s cpu':>9} {'MB/s wall':>9} {'tokens/s':>9}")
        for number, (name, stages) in enumerate(CASES):
            config = PreparationConfig(
                files=(str(work / "text.txt"),), document="paragraph", tokenizer=str(work / name), **stages
            )
            cpu, wall = time.process_time(), time.perf_counter()
            manifest = prepare(config, work / f"out{number}", workers=1)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            size = manifest["read"]["text_bytes"] / 1e6
            shown = ", ".join(f"{key} {value}" for key, value in stages.items()) or "none"
            tokens = manifest["kept"]["tokens"] / cpu
            print(f"{name:18} {shown:38} {size / cpu:9.1f} {size / wall:9.1f} {tokens / 1e6:8.2f}M")


if __name__ == "__main__":
    main()
