"""`jaxlm predict MODEL`."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import tyro

from jaxlm.cli.main import step_of
from jaxlm.cli.options import parse_options
from jaxlm.errors import DataError, UsageError
from jaxlm.local_paths import refuse_address

if TYPE_CHECKING:
    from jaxlm.language_model import LanguageModel
    from jaxlm.prediction.prediction import Prediction

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
AT_ONCE = 4096  # lines that are sorted by length together


@dataclass(frozen=True)
class PredictOptions:
    """Predicts labels, numbers or tags of texts: one prediction for each, in their order."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder or Hugging Face directory."""
    text: tuple[str, ...] = ()
    """Texts to predict for."""
    file: str = ""
    """A table (.csv, .tsv, .jsonl, .json), of which the run's columns are taken and all are printed, with the
    prediction beside them; or a file with a text in each line, or - for standard input: there tabs divide a pair, a
    question from its text or its choices, a prompt from two answers."""
    text_column: str = ""
    """Column of the text in a table; none is that of the run's examples, or guessed."""
    pair_column: str = ""
    """Column of the second text in a table."""
    json: bool = False
    """Print JSON Lines with the probability of every label, instead of a table."""
    step: str = "best"
    """Which checkpoint: best, latest, or a number of steps."""
    num_beams: int = 0
    """Of models that write texts: how many beam search follows at once; 0 takes the model's own number."""
    batch_size: int = 64
    """Texts at a time; no prediction depends on it."""


def run(arguments: Sequence[str]) -> int:
    """Predicts and prints."""
    options = parse_options(PredictOptions, None, arguments, "jaxlm predict")
    step = step_of(options.step)
    if bool(options.text) == bool(options.file):
        raise UsageError("give either --text or --file (- reads standard input)")
    refuse_address(options.file)
    if options.num_beams < 0:
        raise UsageError(f"--num-beams is {options.num_beams}; it must not be negative")
    if options.batch_size < 1:
        raise UsageError(f"--batch-size is {options.batch_size}; it must be at least 1")

    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import jaxlm
    from jaxlm.prediction.prediction import from_line

    model = jaxlm.load(options.model, step)
    if options.num_beams:
        task = replace(model.experiment.task, num_beams=options.num_beams)
        model.experiment = replace(model.experiment, task=task)
    kind = model.labelled_task.config.kind
    if Path(options.file.removesuffix(".gz")).suffix.lower() in TABLES:
        return _predict_table(model, options)
    lines = iter(options.text) if options.text else _lines(options.file)
    while texts := list(islice(lines, AT_ONCE)):
        inputs = [from_line(kind, text) for text in texts]
        for text, prediction in zip(texts, model.predict(inputs, options.batch_size), strict=True):
            print(json.dumps(as_json(text, prediction), ensure_ascii=False) if options.json else line(text, prediction))
    return 0


def _predict_table(model: "LanguageModel", options: PredictOptions) -> int:
    """Prints a table with predictions in columns of their own."""
    from jaxlm.data.examples.reading import read_records, unlabelled_examples

    given = model.experiment.examples
    config = replace(
        given,
        format="auto",
        text_column=options.text_column or given.text_column,
        pair_column=options.pair_column or given.pair_column,
    )
    path = Path(options.file)
    if not path.is_file():
        raise UsageError(f"{path} cannot be read: it is no file")
    records = read_records((path,), config)
    examples = unlabelled_examples(records, config, model.labelled_task.config.kind, str(path))
    found = [columns_of(one) for one in model.predict_examples(examples, options.batch_size)]
    twice = set(records.names) & set(found[0])
    if twice:
        raise UsageError(f"{path} has a column {min(twice)!r} already, which the prediction would take: rename it")
    rows = [record.fields for record in records.good]
    if options.json or not records.separator:
        for row, own in zip(rows, found, strict=True):
            print(json.dumps({**row, **own}, ensure_ascii=False))
        return 0
    table = csv.writer(sys.stdout, delimiter=records.separator, lineterminator="\n")
    if records.header:
        table.writerow([*records.names, *found[0]])
    table.writerows([*row.values(), *own.values()] for row, own in zip(rows, found, strict=True))
    return 0


def columns_of(prediction: "Prediction") -> dict[str, object]:
    """Returns the columns that a prediction adds to a table: `prediction`, and how sure it is."""
    if prediction.text is not None:
        return {"prediction": prediction.text}
    if prediction.answers:
        best = prediction.answers[0]
        return {"prediction": best.text, "start": best.start, "stop": best.stop, "score": best.score}
    if prediction.tags:
        return {"prediction": " ".join(prediction.tags)}
    chosen = prediction.label if prediction.label is not None else prediction.value
    columns: dict[str, object] = {"prediction": "|".join(prediction.labels) if chosen is None else chosen}
    return columns if prediction.probability is None else {**columns, "probability": prediction.probability}


def as_json(text: str, prediction: "Prediction") -> dict[str, object]:
    """Returns what a line of --json holds: the text, and the fields that the task sets."""
    fields = {name: value for name, value in asdict(prediction).items() if value not in (None, (), {})}
    return {"input": text, **fields}


def line(text: str, prediction: "Prediction") -> str:
    """Returns a line of the table: what is predicted, a tab, the text."""
    if prediction.value is not None:
        return f"{prediction.value:.4f}\t{text}"
    if prediction.text is not None:
        return prediction.text
    if prediction.answers:
        best = prediction.answers[0]
        return f"{best.text}\t{best.start}\t{best.stop}\t{best.score:.4f}\t{text.split(chr(9), 1)[0]}"
    if prediction.tags:
        words = text.split()
        return " ".join(f"{word}/{tag}" for word, tag in zip(words, prediction.tags, strict=True))
    if prediction.label is None:
        return f"{'|'.join(prediction.labels)}\t{text}"
    return f"{prediction.label}\t{prediction.probability:.4f}\t{text}"


def _lines(path: str) -> Iterator[str]:
    if path == "-":
        yield from _numbered(sys.stdin.buffer, "standard input")
        return
    try:
        with Path(path).open("rb") as file:
            yield from _numbered(file, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _numbered(file: IO[bytes], name: str) -> Iterator[str]:
    for number, content in enumerate(file, 1):
        try:
            yield content.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}:{number}: not UTF-8: {error.reason} at byte {error.start} of the line") from error
