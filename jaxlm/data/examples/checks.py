"""What is wrong with labelled examples before anything is trained on them: counts, doubles, leaks, lengths."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxlm.data.examples.example import SHOWN, Example, ExampleSet, first_line
from jaxlm.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class SplitCheck:
    """What was found in a split.

    Attributes:
      examples: how many there are.
      problems: records that are no examples, or were repaired, by reason, with the first places.
      labels: how often each label occurs.
      duplicates: examples whose text occurred before in the split.
      conflicts: texts that occur with different labels.
      leaked: examples whose text is in the training split (of the others).
      only_here: labels that the training split does not have (of the others).
      leaked_places: the first of them.
      tokens: median, 95 % and longest length in tokens, if a tokenizer was given.
      truncated: share of the examples that is longer than max_length.
      unknown: share of the tokens that the tokenizer does not know.
      columns: which column was taken for what.
      notes: what was decided of the files.
      unanswerable: questions without an answer; None of other tasks.
      one_class: whether all examples have one label, from which nothing can be learned.
      first: the first bad record, in words (`first_line`).
      too_many_bad: whether a file has more bad records than training takes.
    """

    examples: int
    problems: Mapping[str, tuple[int, tuple[str, ...]]]
    labels: Mapping[str, int]
    duplicates: int
    conflicts: int
    leaked: int = 0
    only_here: tuple[str, ...] = ()
    leaked_places: tuple[str, ...] = ()
    tokens: tuple[int, int, int] | None = None
    truncated: float | None = None
    unknown: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unanswerable: int | None = None
    one_class: bool = False
    first: str = ""
    too_many_bad: bool = False


def check_examples(
    splits: Mapping[str, ExampleSet], tokenizer: Tokenizer | None = None, max_length: int | None = None
) -> dict[str, SplitCheck]:
    """Looks through the splits of a dataset.

    Texts are equal here if they are so without regard to case and space.

    Args:
      splits: by name; 'train' is what the others are held against.
      tokenizer: to count tokens by.
      max_length: the most tokens that an example will have.
    """
    train = splits.get("train")
    seen = Counter() if train is None else Counter(map(normalized_text, train.examples))
    known = set() if train is None else set(_label_counts(train))
    found = {}
    for name, own in splits.items():
        texts: dict[str, set[str]] = {}
        duplicates = 0
        leaks = []
        for example in own.examples:
            text = normalized_text(example)
            duplicates += text in texts
            texts.setdefault(text, set()).add(str(_label(example)))
            if name != "train" and seen[text]:
                leaks.append(example.place)
        labels = _label_counts(own)
        found[name] = SplitCheck(
            examples=len(own.examples),
            problems=_problems(own),
            labels=labels,
            duplicates=duplicates,
            conflicts=sum(len(labels) > 1 for labels in texts.values()),
            leaked=len(leaks),
            only_here=tuple(sorted(set(labels) - known)) if name != "train" else (),
            leaked_places=tuple(leaks[:SHOWN]),
            columns=own.columns,
            notes=own.notes,
            unanswerable=unanswerable(own.examples),
            one_class=has_one_class(own.examples),
            first=first_line(own.problems),
            too_many_bad=own.too_many_bad,
            **_lengths(own, tokenizer, max_length),
        )
    return found


def normalized_text(example: Example) -> str:
    """Returns all that an example is predicted from, in lower case and without superfluous space."""
    fields = example.fields
    parts = [fields.get(name) for name in ("text", "pair", "source", "question", "context")]
    parts.append(" ".join(fields.get("words", ())))
    parts += fields.get("choices", ())
    said = [message["content"] for message in fields.get("messages", ())]
    # Of a conversation the last message is what is predicted.
    parts += said if "chosen" in fields else said[:-1]
    return "\n".join(" ".join(part.lower().split()) for part in parts if part)


def unanswerable(examples: Sequence[Example]) -> int | None:
    """Returns how many questions have no answer in their text; None where there are no questions."""
    if not examples or "context" not in examples[0].fields:
        return None
    return sum(not example.fields["answers"] for example in examples)


def has_one_class(examples: Sequence[Example]) -> bool:
    """Whether all examples have the same label, number or tags, so that a model needs to learn nothing.

    Which of several choices is right may be the same everywhere, since each is judged by itself.
    """
    seen = set()
    for example in examples:
        fields = example.fields
        if "choices" in fields:
            return False
        if "tags" in fields:
            seen.update(fields["tags"])
        elif (name := next((name for name in ("label", "labels", "value") if name in fields), None)) is not None:
            seen.add(fields[name])
        else:
            return False
        if len(seen) > 1:
            return False
    return bool(seen)


def _label(example: Example) -> Any:
    fields = example.fields
    names = ("label", "labels", "value", "tags", "targets", "answers", "chosen", "messages")
    return next((fields[name] for name in names if name in fields), None)


def _label_counts(own: ExampleSet) -> dict[str, int]:
    """How often labels and tags occur, the most frequent first; numbers and texts are no labels."""
    counts: Counter[str] = Counter()
    for example in own.examples:
        if "label" in example.fields:
            counts[str(example.fields["label"])] += 1
        counts.update(example.fields.get("labels", ()))
        counts.update(example.fields.get("tags", ()))
    return dict(counts.most_common())


def _problems(own: ExampleSet) -> dict[str, tuple[int, tuple[str, ...]]]:
    places: dict[str, list[str]] = {}
    for problem in own.problems:
        places.setdefault(problem.reason + (", repaired" if problem.repaired else ""), []).append(problem.place)
    return {reason: (len(found), tuple(found[:SHOWN])) for reason, found in places.items()}


def _lengths(own: ExampleSet, tokenizer: Tokenizer | None, max_length: int | None) -> dict[str, Any]:
    if tokenizer is None or not own.examples:
        return {}
    sizes, unknown = [], 0
    for example in own.examples:
        fields = example.fields
        said = (message["content"] for message in fields.get("messages", ()))
        text = fields.get("text") or fields.get("source") or fields.get("question")
        text = text or " ".join((*fields.get("words", ()), *said, fields.get("chosen", "")))
        ids = tokenizer.encode_for_model(text, fields.get("pair") or fields.get("context")).ids
        sizes.append(len(ids))
        unknown += 0 if tokenizer.unk_id is None else ids.count(tokenizer.unk_id)
    middle, most, longest = (int(size) for size in np.percentile(sizes, [50, 95, 100], method="higher"))
    truncated = None if max_length is None else float(np.mean(np.array(sizes) > max_length))
    return {"tokens": (middle, most, longest), "truncated": truncated, "unknown": unknown / sum(sizes)}
