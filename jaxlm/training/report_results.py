"""The section of a report on what the best checkpoint does on labelled examples."""

from collections.abc import Iterator
from typing import Any

from jaxlm.training.report_markup import cell, table

SPLITS = ("validation", "test")
_MOST_LABELS = 40  # of a confusion matrix


def results_section(results: Any) -> str:
    """Returns the section's markup; nothing where there are no results.

    Args:
      results: what `jaxlm.finetuning` wrote as results.json; it is not trusted.
    """
    tables = [markup for split in SPLITS for markup in _tables(split, _dict(_dict(results).get(split)))]
    body = "".join(f'<div class="scroll data">{markup}</div>' for markup in tables)
    return f'<section aria-labelledby="results"><h2 id="results">Results</h2>{body}</section>' if body else ""


def result_facts(results: Any) -> list[tuple[str, str, str]]:
    """Returns the headline of a fine-tuned run: of each split the score that chose the checkpoint, and the baseline.

    Args:
      results: as for `results_section`.

    Returns:
      (label, value, note) each; nothing where there are no results.
    """
    found = []
    chosen = _dict(results).get("best_by")
    for split in SPLITS:
        own = _dict(_dict(results).get(split))
        scores = _dict(own.get("scores"))
        name = chosen if chosen in scores else own.get("main")
        if name not in scores:
            continue
        interval = _interval(_dict(own.get("intervals")).get(name))
        notes = [f"of {cell(own.get('examples'))} examples", f"95 % interval {interval}" if interval else ""]
        found.append((f"{split} {_words(name)}".capitalize(), cell(scores[name]), ", ".join(filter(None, notes))))
        baseline = _dict(own.get("baseline"))
        if name in _dict(baseline.get("scores")):
            found.append(("Baseline", cell(baseline["scores"][name]), f"{_words(name)} of {cell(baseline.get('of'))}"))
    return found


def _words(name: Any) -> str:
    return str(name).replace("_", " ")


def _tables(split: str, own: dict[str, Any]) -> Iterator[str]:
    scores, intervals, details = (_dict(own.get(name)) for name in ("scores", "intervals", "details"))
    if scores:
        rows = [(name, cell(value), _interval(intervals.get(name))) for name, value in scores.items()]
        yield table(f"{split}: {cell(own.get('examples'))} examples", ("score", "value", "95 % interval"), rows)
    classes = [row for row in _list(details.get("per_class")) if isinstance(row, list) and len(row) == 5]
    if classes:
        head = ("label", "precision", "recall", "F1", "examples")
        yield table(f"{split}, each label", head, [tuple(map(cell, row)) for row in classes])
    matrix = [row for row in _list(details.get("confusion")) if isinstance(row, list)]
    if matrix and len(matrix) == len(classes) <= _MOST_LABELS:
        labels = [cell(row[0]) for row in classes]
        lines = [(label, *map(cell, row)) for label, row in zip(labels, matrix, strict=True)]
        yield table(f"{split}, confusions: true labels down, predicted ones across", ("", *labels), lines)
    errors = [error for error in _list(details.get("errors")) if isinstance(error, dict)]
    if errors:
        names = ("text", "true", "predicted", "confidence", "place")
        lines = [tuple(_text(error.get(name)) for name in names) for error in errors]
        head = ("text", "true", "predicted", "confidence", "place")
        yield table(f"{split}, the errors that the model was surest of", ("#", *head), _numbered(lines))


def _numbered(lines: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [(str(number), *line) for number, line in enumerate(lines, 1)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else cell(value)


def _interval(bounds: Any) -> str:
    return f"{cell(bounds[0])} to {cell(bounds[1])}" if isinstance(bounds, list) and len(bounds) == 2 else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
