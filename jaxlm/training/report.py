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
import statistics
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.training.metrics_log import METRICS_FILE, TIMING_FIELDS, MetricsLog, write_atomically
from jaxlm.training.report_curves import charts_of, figure_of, points_of
from jaxlm.training.report_data import data_section
from jaxlm.training.report_markup import Record, bounded, cell, cut, escape, in_words
from jaxlm.training.report_results import results_section

EXPERIMENT_FILE = "experiment.json"
REPORT_FILE = "report.html"
RESULTS_FILE = "results.json"

# What bounds the page, below two megabytes whatever the run.
_MAX_TABLE_ROWS = 100
_MAX_SAMPLE_STEPS = 20
_MAX_SAMPLES_PER_STEP = 4
_MAX_SAMPLE_LENGTH = 4000  # characters
_MAX_SETTING_LENGTH = 300  # characters
_MAX_SECTIONS = 100
_MAX_TABLE_BYTES = 100_000  # of markup, here and below
_MAX_SAMPLES_BYTES = 500_000
_MAX_SETTINGS_BYTES = 400_000


def write_report(run_folder: str | os.PathLike[str]) -> Path:
    """Writes `report.html` into a run folder, finished or not, and returns its path.

    The headline figures are found by these names. In the metrics: `loss`, `perplexity`, `bits_per_byte` of validation
    records; `tokens` (seen so far), `tokens_per_second`, `mfu` of train records; `seconds` of both. In the experiment:
    `name`, and at any depth `steps`, `parameters`, `machine`, `versions`, `git_revision`.

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
    page = render_report(experiment, records, folder.resolve().name, _read_results(folder / RESULTS_FILE))
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def render_report(experiment: Mapping[str, Any], records: Sequence[Record], name: str, results: Any = None) -> str:
    """Returns the page as text.

    Args:
      experiment: the resolved experiment, nested.
      records: what `MetricsLog.read` returned.
      name: the title, where the experiment has no `name`.
      results: what fine-tuning found, if this was one.
    """
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    charts = charts_of(train, validation)
    assets = files("jaxlm.training")
    template, style, script = (
        assets.joinpath(f"report_template.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    parts = {
        "title": escape(cut(in_words(experiment.get("name") or name), 200)),
        "status": _status(experiment, records),
        "origin": _origin(experiment),
        "facts": _facts(experiment, train, validation),
        "charts": "".join(map(figure_of, charts)) or '<p class="note">Nothing has been measured yet.</p>',
        "results_section": results_section(results),
        "data_section": data_section(experiment.get("corpus"), records),
        "validation": _validation_table(validation),
        "samples": _samples([record for record in records if record["kind"] == "sample"]),
        "events": _events([record for record in records if record["kind"] == "event"]),
        "experiment": _settings(experiment),
        "data": _embedded({"charts": charts}),
        "style": style,
        "script": script,
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: parts[slot[1]], template)


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


def _find(tree: Mapping[str, Any], key: str) -> Any:
    """The value of the outermost `key` anywhere in a nested dict, or None."""
    level = [tree]
    while level:
        for node in level:
            if node.get(key) is not None:
                return node[key]
        level = [child for node in level for child in node.values() if isinstance(child, dict)]
    return None


# Headline


def _status(experiment: Record, records: Sequence[Record]) -> str:
    if not records:
        return "no records yet"
    done, total = max(record["step"] for record in records), _find(experiment, "steps")
    resumed = sum(record["kind"] == "event" and record.get("name") == "resumed" for record in records)
    text = f"step {done:,}"
    if isinstance(total, int) and total >= done:
        text = f"finished at step {done:,}" if total == done else f"step {done:,} of {total:,}"
    return text + ("" if not resumed else ", resumed once" if resumed == 1 else f", resumed {resumed:,} times")


def _origin(experiment: Record) -> str:
    """Where the run comes from: code, machine, versions."""
    revision, *rest = (in_words(_find(experiment, key) or "") for key in ("git_revision", "machine", "versions"))
    commit, changes, _ = revision.partition("+")  # the run folder marks a checkout with '+changes'
    found = [f"git revision {commit[:12]}{' with changes' if changes else ''}" if revision else "", *rest]
    return " · ".join(escape(cut(text, 300)) for text in found if text)


def _facts(experiment: Record, train: Sequence[Record], validation: Sequence[Record]) -> str:
    facts: list[tuple[str, str, str]] = []
    finite = [record for record in validation if points_of([record], "loss")]
    if finite:
        best, last = min(finite, key=lambda record: record["loss"]), finite[-1]
        facts.append(("Best validation loss", f"{best['loss']:.4f}", f"at step {best['step']:,}"))
        if last is not best:
            facts.append(("Final validation loss", f"{last['loss']:.4f}", f"at step {last['step']:,}"))
        for field, label in (("perplexity", "Perplexity"), ("bits_per_byte", "Bits per byte")):
            for step, value in points_of([best], field):
                facts.append((label, f"{value:.4g}", f"at step {step:,}"))
    elif losses := points_of(train, "loss"):
        facts.append(("Final training loss", f"{losses[-1][1]:.4f}", f"at step {losses[-1][0]:,}"))
    if isinstance(parameters := _find(experiment, "parameters"), int):
        facts.append(("Parameters", _count(parameters), f"{parameters:,}"))
    if tokens := points_of(train, "tokens"):
        facts.append(("Tokens seen", _count(tokens[-1][1]), f"{tokens[-1][1]:,.0f}"))
    if seconds := points_of([*train, *validation], "seconds"):
        facts.append(("Wall time", _duration(sum(value for _, value in seconds)), "training and validation"))
    if rates := points_of(train, "tokens_per_second"):
        note = "median"
        if utilisations := points_of(train, "mfu"):
            note += f", {statistics.median(value for _, value in utilisations):.1%} of peak FLOP/s"
        facts.append(("Tokens per second", _count(statistics.median(value for _, value in rates)), note))
    return "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for label, value, note in facts
    )


def _count(value: float) -> str:
    for factor, word in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{word}"
    return f"{value:.3g}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{seconds:.1f} s"


# Tables and texts


def _validation_table(validation: Sequence[Record]) -> str:
    if not validation:
        return ""
    columns = dict.fromkeys(
        name for record in validation for name in record if name not in TIMING_FIELDS | {"step", "kind"}
    )
    names = ["step", *list(columns)[:12]]
    finite = [record for record in validation if points_of([record], "loss")]
    best = min(finite, key=lambda record: record["loss"], default=None)
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
    shown += "The lowest loss is in bold." if best else ""
    caption = f"<caption>{shown}</caption>" if shown else ""
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


def _settings(experiment: Mapping[str, Any]) -> str:
    """The experiment as one collapsible table a section, its nested keys joined by dots as on the command line."""
    sections: dict[str, list[tuple[str, Any]]] = {}
    own = experiment.get("experiment")  # the run folder keeps the experiment apart from the facts about the run
    facts = {name: content for name, content in experiment.items() if name not in ("experiment", "corpus")}
    for section, content in ({**own, **facts} if isinstance(own, dict) else experiment).items():
        if isinstance(content, dict) and content:
            sections.setdefault(section, []).extend(_flat(content))
        else:
            sections.setdefault("run", []).append((section, content))
    room, blocks = _MAX_SETTINGS_BYTES, []
    for section, settings in list(sections.items())[:_MAX_SECTIONS]:
        rows = (
            f'<tr><th scope="row">{escape(cut(name, 200))}</th>'
            f"<td>{escape(cut(in_words(value), _MAX_SETTING_LENGTH))}</td></tr>\n"
            for name, value in settings
        )
        shown = bounded(rows, room)
        room -= len("".join(shown).encode("utf-8", "replace"))
        number = f"{len(settings):,}" if len(shown) == len(settings) else f"{len(shown):,} of {len(settings):,} shown"
        blocks.append(
            f"<details><summary>{escape(cut(section, 200))}<span>{number}</span></summary>"
            f'<table class="settings"><tbody>{"".join(shown)}</tbody></table></details>\n'
        )
    if len(sections) > len(blocks):
        blocks.append(f'<p class="note">{len(blocks)} of {len(sections):,} sections.</p>')
    return "".join(blocks) or '<p class="note">The experiment is empty.</p>'


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found.extend(_flat(value, f"{prefix}{key}."))
        else:
            found.append((prefix + key, value))
    return found
