"""What a labelled example is, whatever file it came from."""

from collections.abc import Mapping, Sequence
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
        chat: messages, each with role and content, maybe tool_calls and weight, the last one learned, and maybe tools;
        multiple_choice: text, pair (a question, or None), choices (a tuple), label (which is right, from 0);
        sentence_embedding: text, pair (its partner) and maybe negative;
        preference: messages, the answers chosen and rejected, and maybe tools.
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
      problems: every record that is not among them, and what was repaired of others.
      columns: which column was taken for what; of multiple_choice also `CHOICE_LABELS`.
      files: what was read.
      fingerprint: a hash of the examples' content.
      notes: what was decided of the files as wholes, such as their encoding or what quotes mean, in words.
      too_many_bad: whether more than a tenth of a file's records are bad.
    """

    examples: list[Example]
    problems: list[Problem]
    columns: Mapping[str, str]
    files: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    too_many_bad: bool = False


CHOICE_LABELS = "choice_labels"  # beside the columns: how a label names the right choice
SHOWN = 3  # places that are named of each kind of problem


def columns_line(columns: Mapping[str, str]) -> str:
    """Returns which column was taken for what, in words."""
    roles = ", ".join(f"{role} from {column}" for role, column in columns.items() if role != CHOICE_LABELS)
    meaning = columns.get(CHOICE_LABELS, "")
    return f"{roles}, the right choice's {meaning.replace('from_', 'number from ')}" if meaning else roles


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Returns how many records were left out or repaired for each reason, with the first places."""
    places: dict[tuple[bool, str], list[str]] = {}
    for problem in problems:
        places.setdefault((problem.repaired, problem.reason), []).append(problem.place)
    return [
        f"{'repaired' if repaired else 'left out'}, {reason.replace('_', ' ')}: {len(found):,} "
        f"({', '.join(found[:SHOWN])}{', ...' if len(found) > SHOWN else ''})"
        for (repaired, reason), found in places.items()
    ]


def first_line(problems: Sequence[Problem]) -> str:
    """Returns what is wrong with the first record that was left out or repaired, and where; empty for none."""
    return f"the first: {problems[0].place}: {problems[0].problem}" if problems else ""


def first_problem(problems: Sequence[Problem]) -> str:
    """Returns how many bad records there are and what is wrong with the first, in words; at least one is needed."""
    return f"the first of {len(problems):,} bad records: {problems[0].place}: {problems[0].problem}"
