"""Texts that a model writes for sources: translations, summaries."""

from collections.abc import Iterator, Sequence

from jaxlm.data.examples.example import Example
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.generation.text import generate_text
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.text_to_text import source_text
from jaxlm.text.tokenizer import Tokenizer


def write_texts(
    generator: TokenGenerator,
    tokenizer: Tokenizer,
    config: TaskConfig,
    examples: Sequence[Example],
    length: int,
    batch_size: int,
) -> Iterator[tuple[int, str]]:
    """Yields the number of each example and the text that the model writes for its source: greedily, or by beam search.

    Args:
      generator: the model.
      tokenizer: its tokenizer.
      config: the task's, with num_beams and length_penalty.
      examples: with a source.
      length: the most tokens of a source, which is cut to it, and of a text.
      batch_size: sources at a time, those of a length together.

    Raises:
      DataError: a source that the tokenizer cannot represent.
    """
    options = GenerationConfig(
        temperature=0.0, max_new_tokens=length, num_beams=config.num_beams, length_penalty=config.length_penalty
    )
    order = sorted(range(len(examples)), key=lambda number: len(examples[number].fields["source"]))
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        prompts = [source_text(config, examples[number].fields["source"]) for number in numbers]
        yield from zip(numbers, generate_text(generator, tokenizer, prompts, options, length), strict=True)
