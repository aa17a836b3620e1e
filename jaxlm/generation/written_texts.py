"""Texts that a model writes for examples: translations, summaries, answers."""

from collections.abc import Iterator, Sequence

from jaxlm.data.examples.example import Example
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.generation.text import stream_from_ids
from jaxlm.tasks.make import LabelledTask
from jaxlm.text.tokenizer import Tokenizer


def write_texts(
    generator: TokenGenerator,
    tokenizer: Tokenizer,
    task: LabelledTask,
    examples: Sequence[Example],
    length: int,
    batch_size: int,
) -> Iterator[tuple[int, str]]:
    """Yields the number of each example and the text that the model writes for it: greedily, or by beam search.

    Args:
      generator: the model.
      tokenizer: its tokenizer.
      task: with what examples are read from, num_beams and length_penalty.
      examples: what is written for.
      length: the most tokens of what is read, which is cut to it, and of a text.
      batch_size: examples at a time, those of a length together.

    Raises:
      DataError: an example that the tokenizer cannot represent.
    """
    config = task.config
    options = GenerationConfig(
        temperature=0.0, max_new_tokens=length, num_beams=config.num_beams, length_penalty=config.length_penalty
    )
    prompts = [task.prompt(tokenizer, example, length) for example in examples]
    order = sorted(range(len(examples)), key=lambda number: len(prompts[number]))
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        pieces = stream_from_ids(generator, tokenizer, [prompts[number] for number in numbers], options, length)
        texts = ["".join(parts).strip() for parts in zip(*pieces, strict=True)]
        yield from zip(numbers, texts, strict=True)
