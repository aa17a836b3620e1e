"""A run on one page: `report.html`, a single file without network, for reading, sending and printing.

Everything in it comes from the run folder (`experiment.json`, `metrics.jsonl`), and none of that is trusted: samples
are whatever the model wrote. Text is escaped on its way into the page, the embedded data cannot end its script
element, and the page's own policy lets no script run but the one whose hash it names.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.training.metrics_log import METRICS_FILE, TIMING_FIELDS, MetricsLog, write_atomically
from jaxlm.training.report_curves import charts_of, figure_of, points_of
from jaxlm.training.report_data import data_section
from jaxlm.training.report_headline import commands, facts, find, origin, status
from jaxlm.training.report_markup import Record, bounded, cell, cut, escape, in_words
from jaxlm.training.report_results import results_section
from jaxlm.training.report_settings import settings_section

EXPERIMENT_FILE = "experiment.json"
REPORT_FILE = "report.html"
RESULTS_FILE = "results.json"

# What bounds the page, below two megabytes whatever the run.
_MAX_TABLE_ROWS = 100
_MAX_SAMPLE_STEPS = 20
_MAX_SAMPLES_PER_STEP = 4
_MAX_SAMPLE_LENGTH = 4000  # characters
_MAX_TABLE_BYTES = 100_000  # of markup, here and below
_MAX_SAMPLES_BYTES = 500_000


def write_report(run_folder: str | os.PathLike[str]) -> Path:
    """Writes `report.html` into a run folder, finished or not, and returns its path.

    The headline figures are found by these names. In the metrics: `loss`, `perplexity`, `bits_per_byte` of validation
    records; `tokens` (seen so far), `tokens_per_second`, `mfu` of train records; `seconds` of both. In the experiment:
    `name`, `command`, `chosen_by` (the score that chooses checkpoints, and whether higher is better), and at any depth
    `steps`, `parameters`, `machine`, `versions`, `git_revision`, `started`.

    Args:
      run_folder: holds `experiment.json`, and `metrics.jsonl` once training has logged anything.

    Raises:
      UsageError: the folder is not a run folder.
      DataError: one of the two files is damaged.
    """
    folder = Path(run_folder)
    experiment = _read_experiment(folder / EXPERIMENT_FILE)
    records = MetricsLog(folder / METRICS_FILE).read()
    path = folder / REPORT_FILE
    results = _read_results(folder / RESULTS_FILE)
    page = render_report(experiment, records, folder.resolve().name, results, as_typed(folder))
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def as_typed(folder: Path) -> str:
    """A folder as one would type it here: from the working directory where it lies below that, else whole."""
    whole, here = folder.absolute(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)


def render_report(
    experiment: Mapping[str, Any], records: Sequence[Record], name: str, results: Any = None, folder: str = ""
) -> str:
    """Returns the page as text.

    Args:
      experiment: the resolved experiment, nested.
      records: what `MetricsLog.read` returned.
      name: the title, where the experiment has no `name`.
      results: what fine-tuning found, if this was one.
      folder: the run folder as the page's commands name it; none takes `name`.
    """
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    score, higher = _chosen_by(experiment)
    measured = [record for record in validation if points_of([record], score)]
    best = (max if higher else min)(measured, key=lambda record: record[score], default=None)
    finished = results is not None or (bool(records) and records[-1]["step"] == find(experiment, "steps"))
    charts = charts_of(train, validation, score, [record for record in records if record["kind"] == "hook"])
    assets = files("jaxlm.training")
    template, style, script = (
        assets.joinpath(f"report_template.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    parts = {
        "title": escape(cut(in_words(experiment.get("name") or name), 200)),
        "status": status(experiment, records),
        "origin": origin(experiment),
        "commands": commands(experiment, folder or name, finished),
        "facts": facts(experiment, train, validation, best, results),
        "charts": "".join(map(figure_of, charts)) or '<p class="note">Nothing has been measured yet.</p>',
        "results_section": results_section(results),
        "data_section": data_section(experiment.get("corpus"), records),
        "validation": _validation_table(validation, score, best),
        "samples": _samples([record for record in records if record["kind"] == "sample"]),
        "events": _events([record for record in records if record["kind"] == "event"]),
        "experiment": settings_section(experiment),
        "data": _embedded({"charts": charts}),
        "style": style,
        "script": script,
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: parts[slot[1]], template)


def _chosen_by(experiment: Mapping[str, Any]) -> tuple[str, bool]:
    """The score that chooses the checkpoint and whether a higher one is better; the loss where nothing is told."""
    told = experiment.get("chosen_by")
    if isinstance(told, dict) and isinstance(told.get("score"), str) and isinstance(told.get("higher_is_better"), bool):
        return told["score"], told["higher_is_better"]
    return "loss", False


def _read_results(path: Path) -> Any:
    """What fine-tuning wrote; None where there is nothing that can be read, since the report can do without."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _read_experiment(path: Path) -> dict[str, Any]:
    try:
        experiment = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"no {path.name} in {path.parent}: a report needs the folder of a run") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); restore the file, or start the run again") from error
    if not isinstance(experiment, dict):
        raise DataError(f"{path}: expected a JSON object of sections, got {type(experiment).__name__}")
    return experiment


def _embedded(data: Any) -> str:
    """JSON that stands inside a script element: without `<`, nothing can end the element or open a comment in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII, so no U+2028 either
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _validation_table(validation: Sequence[Record], score: str, best: Record | None) -> str:
    if not validation:
        return ""
    columns = dict.fromkeys(
        name for record in validation for name in record if name not in TIMING_FIELDS | {"step", "kind"}
    )
    names = ["step", *list(columns)[:12]]
    rows, shown = validation, ""
    if len(validation) > _MAX_TABLE_ROWS:
        stride = len(validation) / _MAX_TABLE_ROWS
        kept = {int(stride * k) for k in range(_MAX_TABLE_ROWS)} | {len(validation) - 1}
        rows = [record for i, record in enumerate(validation) if i in kept or record is best]
    head = "".join(f'<th scope="col">{escape(name.replace("_", " ")[:60])}</th>' for name in names)
    body = bounded(
        (
            f"<tr{' class=best' if record is best else ''}>"
            + "".join(f"<td>{escape(cell(record.get(name)))}</td>" for name in names)
            + "</tr>\n"
            for record in rows
        ),
        _MAX_TABLE_BYTES,
    )
    if len(body) < len(validation):
        shown = f"{len(body)} of {len(validation):,} evaluations. "
    shown += f"The best by {score.replace('_', ' ')[:60]} is in bold." if best else ""
    caption = f"<caption>{escape(shown)}</caption>" if shown else ""
    return (
        '<section aria-labelledby="validation"><h2 id="validation">Validation</h2><div class="scroll" tabindex="0" '
        f'role="region" aria-labelledby="validation"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div></section>"
    )


def _samples(samples: Sequence[Record]) -> str:
    samples = [record for record in samples if isinstance(record.get("text"), list) and record["text"]]
    if not samples:
        return ""
    shown = samples
    if len(samples) > _MAX_SAMPLE_STEPS:  # evenly spread, with the first and the last
        last = len(samples) - 1
        shown = [samples[last * k // (_MAX_SAMPLE_STEPS - 1)] for k in range(_MAX_SAMPLE_STEPS)]
    blocks: list[str] = []
    for record in reversed(shown):
        texts = [cut(str(text), _MAX_SAMPLE_LENGTH) for text in record["text"][:_MAX_SAMPLES_PER_STEP]]
        number = f"{len(texts)} of {len(record['text'])} texts" if len(texts) < len(record["text"]) else ""
        blocks.append(
            f"<details{'' if blocks else ' open'}><summary>Step {record['step']:,}<span>{number}</span></summary>"
            + "".join(f'<p class="sample" dir="auto">{escape(text)}</p>' for text in texts)
            + "</details>\n"
        )
    blocks = bounded(blocks, _MAX_SAMPLES_BYTES)
    note = f'<p class="note">{len(blocks)} of {len(samples):,} steps.</p>' if len(blocks) < len(samples) else ""
    return f'<section aria-labelledby="samples"><h2 id="samples">Samples</h2>{"".join(blocks)}{note}</section>'


def _events(events: Sequence[Record]) -> str:
    if not events:
        return ""
    rows = (
        f'<tr><th scope="row">step {record["step"]:,}</th><td>'
        + escape(cut(", ".join(filter(None, [in_words(record.get("name", "")), in_words(_details(record))])), 300))
        + "</td></tr>\n"
        for record in events[-_MAX_TABLE_ROWS:]
    )
    body = "".join(bounded(rows, _MAX_TABLE_BYTES))
    return (
        '<section aria-labelledby="events"><h2 id="events">Events</h2><div class="scroll">'
        f'<table class="settings events"><tbody>{body}</tbody></table></div></section>'
    )


def _details(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("step", "kind", "name")}
