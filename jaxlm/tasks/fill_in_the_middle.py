"""Fill in the middle: a causal model learns to write what stands between two pieces of text (Bavarian et al. 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import empty_batch
from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import Row, span_origins, spans, spans_account
from jaxlm.data.origins import Origin
from jaxlm.data.packing import Packing
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.example_feed import ExampleFeed
from jaxlm.tasks.task import Task
from jaxlm.text.tokenizer import Tokenizer

NAMES = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")


def fill_in_the_middle(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """The task of Bavarian et al. 2022, section 3: causal language modelling on texts whose parts change places.

    Raises:
      UsageError: the model does not read from left to right, or the tokenizer lacks the names of the parts.
    """
    if model.architecture not in ("decoder", "lstm"):
        raise UsageError(
            f"task.kind 'fill_in_the_middle' needs model.architecture 'decoder' or 'lstm', not {model.architecture!r}"
        )
    numbers = [tokenizer.token_id(name) for name in NAMES]
    found = [number for number in numbers if number is not None]
    if len(found) < len(NAMES):
        raise UsageError(f"fill in the middle needs {', '.join(map(repr, NAMES))} in tokenizer.special_tokens")
    feed = MiddleFeed(data, tokenizer, config, (found[0], found[1], found[2]))
    return Task(CausalLM(model, segmented=True), feed, generates=True, shifted=True)


@dataclass(frozen=True)
class MiddleFeed(ExampleFeed):
    """Pieces of text, some of them with their middle at the end.

    Attributes:
      parts: ids that stand before a prefix, a suffix and a middle.
    """

    parts: tuple[int, int, int]

    def examples(self, stream: TokenStream) -> "MiddleExamples":
        """See `ExampleFeed`."""
        across = self.data.batching == "blocks"
        end = [] if self.tokenizer.eos_id is None else [self.tokenizer.eos_id]
        return MiddleExamples(stream, self.data.length, self.parts, end, self.config, across, self.data.packing)


class MiddleExamples:
    """Rows of a stream, each with one span of it, or with several documents side by side.

    Attributes:
      length: columns in a row.
    """

    def __init__(
        self,
        stream: TokenStream,
        length: int,
        parts: tuple[int, int, int],
        end: Sequence[int],
        config: TaskConfig,
        across_documents: bool,
        packing: Packing = "first_fit",
    ):
        """Cuts the stream.

        Raises:
          UsageError: no text fits beside the names of the parts.
        """
        self._end = list(end)
        self._overhead = 2 + len(self._end)
        if length < 2 + self._overhead:
            raise UsageError(
                f"data.length {length} leaves no text beside the names of its parts: use at least {2 + self._overhead}"
            )
        self.length = length
        self._stream = stream
        self._parts = parts
        self._config = config
        self._table = spans(stream, length, self._overhead, across_documents, packing)

    def __len__(self) -> int:
        return self._table.num_rows

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns tokens, positions, segment_ids, targets and loss_weights [length]."""
        row = self.empty()
        found = self._table.rows(np.array([number]))
        places = zip(found.column.tolist(), found.start.tolist(), found.length.tolist(), strict=True)
        for segment, (column, start, size) in enumerate(places, 1):
            # n tokens, 3 names and the end give n + 2 pairs of input and target, and one more with an end.
            text = self._stream.tokens[start : start + size - self._overhead].astype(np.int32)
            ids = rearranged(
                text, self._parts, self._end, self._config.middle_rate, self._config.suffix_first_rate, random
            )
            pairs = len(ids) - 1
            here = slice(column, column + pairs)
            row["tokens"][here] = ids[:-1]
            row["targets"][here] = ids[1:]
            row["positions"][here] = np.arange(pairs)
            row["segment_ids"][here] = segment
            row["loss_weights"][here] = 1
        return row

    def origins(self, number: int, random: np.random.Generator) -> list[Origin]:
        """See `jaxlm.data.example_rows.Examples`: nothing of it is drawn."""
        return span_origins(self._table, number, self._overhead)

    def account(self) -> Account:
        """See `jaxlm.data.example_rows.Examples`."""
        return spans_account(self._stream, self._table, self._overhead, None)

    def empty(self) -> Row:
        """Returns a row of padding."""
        return {name: value[0] for name, value in empty_batch(1, self.length, self._stream.pad_id).items()}


def rearranged(
    text: np.ndarray,
    parts: tuple[int, int, int],
    end: Sequence[int],
    middle_rate: float,
    suffix_first_rate: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Returns a text as it is, or with its middle at the end.

    The two cuts are drawn evenly from all places (section 3; here between tokens, there between characters). With PSM
    it is prefix, suffix, middle, each behind its name; with SPM (appendix D) the names of prefix and suffix stand
    first, then suffix, the name of the middle, and prefix and middle joined. `end` follows, which says that the middle
    is over.
    """
    if random.random() >= middle_rate:
        return text
    first, second = sorted(int(cut) for cut in random.random(2) * (len(text) + 1))
    before, middle, after = text[:first], text[first:second], text[second:]
    prefix_id, suffix_id, middle_id = parts
    if random.random() < suffix_first_rate:
        ids = [prefix_id, suffix_id, *after, middle_id, *before, *middle, *end]
    else:
        ids = [prefix_id, *before, suffix_id, *after, middle_id, *middle, *end]
    return np.array(ids, np.int32)
