"""What a labelled example is, whatever file it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """An example.

    Attributes:
      place: the file and line that it came from.
      fields: by the kind of task:
        classification: text, pair (None for a single text), label;
        multi_label: text, pair, labels (a tuple);
        regression: text, pair, value (a float);
        tagging: words, tags (tuples of one length);
        question_answering: id, question, context, answers (a tuple of (text, first character); empty for none);
        sequence_to_sequence: source, targets (a tuple, the first of which is learned);
        chat: messages, each with role and content, the last the assistant's;
        multiple_choice: text, pair (a question, or None), choices (a tuple), label (which is right, from 0);
        sentence_embedding: text, pair (its partner) and maybe negative;
        preference: messages, and the answers chosen and rejected.
    """

    place: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """A record that is no example, or one that had to be repaired to be one.

    Attributes:
      place: the file and line.
      reason: a short name for all of its kind, such as "no_label".
      problem: what is wrong, in a sentence.
      repaired: whether an example was made of it all the same.
    """

    place: str
    reason: str
    problem: str
    repaired: bool = False


@dataclass(frozen=True)
class ExampleSet:
    """The examples of a split.

    Attributes:
      examples: in the order of the files.
      problems: every record that is not among them, and those that were repaired.
      columns: which column was taken for what.
      files: what was read.
      fingerprint: a hash of the examples' content.
    """

    examples: list[Example]
    problems: list[Problem]
    columns: Mapping[str, str]
    files: tuple[str, ...]
    fingerprint: str
