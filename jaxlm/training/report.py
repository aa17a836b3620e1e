"""A run on one page: `report.html`, a single file without network, for reading, sending and printing.

Everything in it comes from the run folder (`experiment.json`, `metrics.jsonl`), and none of that is trusted: samples
are whatever the model wrote. Text is escaped on its way into the page, the embedded data cannot end its script
element, and the page's own policy lets no script run but the one whose hash it names.
"""

import base64
import hashlib
import html
import json
import math
import os
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.training.metrics_log import METRICS_FILE, TIMING_FIELDS, MetricsLog, write_atomically

EXPERIMENT_FILE = "experiment.json"
REPORT_FILE = "report.html"

# What bounds the page, below two megabytes whatever the run.
_MAX_POINTS = 2000  # per curve; above it, buckets of minimum, mean and maximum
_BUCKETS = 700
_MAX_OTHER_CHARTS = 6
_MAX_TABLE_ROWS = 100
_MAX_SAMPLE_STEPS = 20
_MAX_SAMPLES_PER_STEP = 4
_MAX_SAMPLE_LENGTH = 4000  # characters
_MAX_SETTING_LENGTH = 300  # characters
_MAX_SECTIONS = 100
_MAX_TABLE_BYTES = 100_000  # of markup, here and below
_MAX_SAMPLES_BYTES = 500_000
_MAX_SETTINGS_BYTES = 400_000

# Fields that have a chart or a place of their own, or that no curve would explain.
_NO_OTHER_CHART = TIMING_FIELDS | {
    "step",
    "kind",
    "loss",
    "learning_rate",
    "gradient_norm",
    "tokens",
    "weight",
    "epoch",
}

Record = Mapping[str, Any]


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
    write_atomically(path, render_report(experiment, records, folder.resolve().name).encode("utf-8", "replace"))
    return path


def render_report(experiment: Mapping[str, Any], records: Sequence[Record], name: str) -> str:
    """Returns the page as text.

    Args:
      experiment: the resolved experiment, nested.
      records: what `MetricsLog.read` returned.
      name: the title, where the experiment has no `name`.
    """
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    charts = _charts(train, validation)
    assets = files("jaxlm.training")
    template, style, script = (
        assets.joinpath(f"report_template.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    parts = {
        "title": _escape(_cut(_shown(experiment.get("name") or name), 200)),
        "status": _status(experiment, records),
        "origin": _origin(experiment),
        "facts": _facts(experiment, train, validation),
        "charts": "".join(map(_figure, charts)) or '<p class="note">Nothing has been measured yet.</p>',
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


def _escape(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _bounded(parts: Iterable[str], limit: int) -> list[str]:
    """The first parts that together take no more than `limit` bytes."""
    kept = []
    for part in parts:
        limit -= len(part.encode("utf-8", "replace"))
        if limit < 0:
            break
        kept.append(part)
    return kept


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


def _points(records: Iterable[Record], field: str) -> list[tuple[int, float]]:
    """The steps and finite values of a field; bools and text are no measurements."""
    found = ((record["step"], record.get(field)) for record in records)
    return [
        (step, float(value))
        for step, value in found
        if isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
    ]


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


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
    revision, *rest = (_shown(_find(experiment, key) or "") for key in ("git_revision", "machine", "versions"))
    commit, changes, _ = revision.partition("+")  # the run folder marks a checkout with '+changes'
    found = [f"git revision {commit[:12]}{' with changes' if changes else ''}" if revision else "", *rest]
    return " · ".join(_escape(_cut(text, 300)) for text in found if text)


def _facts(experiment: Record, train: Sequence[Record], validation: Sequence[Record]) -> str:
    facts: list[tuple[str, str, str]] = []
    finite = [record for record in validation if _points([record], "loss")]
    if finite:
        best, last = min(finite, key=lambda record: record["loss"]), finite[-1]
        facts.append(("Best validation loss", f"{best['loss']:.4f}", f"at step {best['step']:,}"))
        if last is not best:
            facts.append(("Final validation loss", f"{last['loss']:.4f}", f"at step {last['step']:,}"))
        for field, label in (("perplexity", "Perplexity"), ("bits_per_byte", "Bits per byte")):
            for step, value in _points([best], field):
                facts.append((label, f"{value:.4g}", f"at step {step:,}"))
    elif losses := _points(train, "loss"):
        facts.append(("Final training loss", f"{losses[-1][1]:.4f}", f"at step {losses[-1][0]:,}"))
    if isinstance(parameters := _find(experiment, "parameters"), int):
        facts.append(("Parameters", _count(parameters), f"{parameters:,}"))
    if tokens := _points(train, "tokens"):
        facts.append(("Tokens seen", _count(tokens[-1][1]), f"{tokens[-1][1]:,.0f}"))
    if seconds := _points([*train, *validation], "seconds"):
        facts.append(("Wall time", _duration(sum(value for _, value in seconds)), "training and validation"))
    if rates := _points(train, "tokens_per_second"):
        note = "median"
        if utilisations := _points(train, "mfu"):
            note += f", {statistics.median(value for _, value in utilisations):.1%} of peak FLOP/s"
        facts.append(("Tokens per second", _count(statistics.median(value for _, value in rates)), note))
    return "".join(
        f"<div><dt>{_escape(label)}</dt><dd>{_escape(value)}<small>{_escape(note)}</small></dd></div>"
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


# Curves


def _charts(train: Sequence[Record], validation: Sequence[Record]) -> list[dict[str, Any]]:
    others = dict.fromkeys(
        field for record in [*train, *validation] for field in record if field not in _NO_OTHER_CHART
    )
    named = [
        ("Loss", "", "loss"),
        ("Learning rate", "", "learning_rate"),
        ("Gradient norm", "", "gradient_norm"),
        ("Throughput", "tokens per second", "tokens_per_second"),
    ]
    charts = [_chart(title, unit, field, train, validation) for title, unit, field in named]
    rest = [_chart(field.replace("_", " ").capitalize(), "", field, train, validation) for field in others]
    return [chart for chart in charts if chart] + [chart for chart in rest if chart][:_MAX_OTHER_CHARTS]


def _chart(
    title: str, unit: str, field: str, train: Sequence[Record], validation: Sequence[Record]
) -> dict[str, Any] | None:
    series, summary, notes = [], [], []
    for name, records in (("train", train), ("validation", validation)):
        points = _points(records, field)
        broken = [r["step"] for r in records if isinstance(r.get(field), float) and not math.isfinite(r[field])]
        if broken:
            plural = "value is" if len(broken) == 1 else "values are"
            notes.append(f"{len(broken):,} {name} {plural} not finite, first at step {broken[0]:,}.")
        if points:
            series.append({"name": name, **_thinned(points)})
            low = min(points, key=lambda point: point[1])
            summary.append(
                f"{name} from {points[0][1]:.4g} at step {points[0][0]:,} to {points[-1][1]:.4g} at step "
                f"{points[-1][0]:,}, lowest {low[1]:.4g} at step {low[0]:,}"
            )
    if not series and not notes:
        return None
    chart: dict[str, Any] = {"title": title, "unit": unit, "series": series, "note": " ".join(notes)}
    chart["label"] = f"{title} by training step: {'; '.join(summary) or 'no finite values'}"
    if field == "loss" and series and series[0]["name"] == "train" and len(series[0]["x"]) > 2:
        chart["smoothing"] = 0.8 if len(series[0]["x"]) >= 100 else 0
    return chart


def _thinned(points: Sequence[tuple[int, float]]) -> dict[str, list[float]]:
    """The points of a curve, or, where they are many, the lowest, mean and highest of each of a few hundred buckets.

    Half of the bucket edges are spread evenly and half logarithmically, so that the start stays sharp on a log axis.
    """
    if len(points) <= _MAX_POINTS:
        return {"x": [step for step, _ in points], "y": [_rounded(value) for _, value in points]}
    half, total = _BUCKETS // 2, len(points)
    edges = {total * k // half for k in range(half + 1)} | {int(total ** (k / half)) for k in range(half + 1)}
    ordered = sorted(edges | {0, 1, total - 1, total})  # the first and the last point stand alone
    curve: dict[str, list[float]] = {"x": [], "y": [], "low": [], "high": []}
    for start, end in pairwise(ordered):
        values = [value for _, value in points[start:end]]
        curve["x"].append(points[(start + end - 1) // 2][0])
        curve["y"].append(_rounded(sum(value / len(values) for value in values)))  # cannot overflow
        curve["low"].append(_rounded(min(values)))
        curve["high"].append(_rounded(max(values)))
    return curve


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _figure(chart: Mapping[str, Any]) -> str:
    unit = f' <span class="unit">{_escape(chart["unit"])}</span>' if chart["unit"] else ""
    legend = "".join(
        f'<span><span class="swatch" style="border-color: var(--{series["name"]})"></span>{series["name"]}</span>'
        for series in chart["series"]
        if len(chart["series"]) > 1 or series["name"] == "validation"
    )
    note = f'<p class="note">{_escape(chart["note"])}</p>' if chart["note"] else ""
    classes = "chart wide" if chart["title"] == "Loss" else "chart"
    return (
        f'<figure class="{classes}"><figcaption><strong>{_escape(chart["title"])}{unit}</strong>'
        f'<span class="legend">{legend}</span></figcaption><div class="plot"></div>{note}</figure>\n'
    )


# Tables and texts


def _validation_table(validation: Sequence[Record]) -> str:
    if not validation:
        return ""
    columns = dict.fromkeys(
        name for record in validation for name in record if name not in TIMING_FIELDS | {"step", "kind"}
    )
    names = ["step", *list(columns)[:12]]
    finite = [record for record in validation if _points([record], "loss")]
    best = min(finite, key=lambda record: record["loss"], default=None)
    rows, shown = validation, ""
    if len(validation) > _MAX_TABLE_ROWS:
        stride = len(validation) / _MAX_TABLE_ROWS
        kept = {int(stride * k) for k in range(_MAX_TABLE_ROWS)} | {len(validation) - 1}
        rows = [record for i, record in enumerate(validation) if i in kept or record is best]
    head = "".join(f'<th scope="col">{_escape(name.replace("_", " ")[:60])}</th>' for name in names)
    body = _bounded(
        (
            f"<tr{' class=best' if record is best else ''}>"
            + "".join(f"<td>{_escape(_cell(record.get(name)))}</td>" for name in names)
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


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else _cut(str(value), 80)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} … ({len(text):,} characters)"


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
        texts = [_cut(str(text), _MAX_SAMPLE_LENGTH) for text in record["text"][:_MAX_SAMPLES_PER_STEP]]
        number = f"{len(texts)} of {len(record['text'])} texts" if len(texts) < len(record["text"]) else ""
        blocks.append(
            f"<details{'' if blocks else ' open'}><summary>Step {record['step']:,}<span>{number}</span></summary>"
            + "".join(f'<p class="sample" dir="auto">{_escape(text)}</p>' for text in texts)
            + "</details>\n"
        )
    blocks = _bounded(blocks, _MAX_SAMPLES_BYTES)
    note = f'<p class="note">{len(blocks)} of {len(samples):,} steps.</p>' if len(blocks) < len(samples) else ""
    return f'<section aria-labelledby="samples"><h2 id="samples">Samples</h2>{"".join(blocks)}{note}</section>'


def _events(events: Sequence[Record]) -> str:
    if not events:
        return ""
    rows = (
        f'<tr><th scope="row">step {record["step"]:,}</th><td>'
        + _escape(_cut(", ".join(filter(None, [_shown(record.get("name", "")), _shown(_details(record))])), 300))
        + "</td></tr>\n"
        for record in events[-_MAX_TABLE_ROWS:]
    )
    body = "".join(_bounded(rows, _MAX_TABLE_BYTES))
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
    facts = {name: content for name, content in experiment.items() if name != "experiment"}
    for section, content in ({**own, **facts} if isinstance(own, dict) else experiment).items():
        if isinstance(content, dict) and content:
            sections.setdefault(section, []).extend(_flat(content))
        else:
            sections.setdefault("run", []).append((section, content))
    room, blocks = _MAX_SETTINGS_BYTES, []
    for section, settings in list(sections.items())[:_MAX_SECTIONS]:
        rows = (
            f'<tr><th scope="row">{_escape(_cut(name, 200))}</th>'
            f"<td>{_escape(_cut(_shown(value), _MAX_SETTING_LENGTH))}</td></tr>\n"
            for name, value in settings
        )
        shown = _bounded(rows, room)
        room -= len("".join(shown).encode("utf-8", "replace"))
        number = f"{len(settings):,}" if len(shown) == len(settings) else f"{len(shown):,} of {len(settings):,} shown"
        blocks.append(
            f"<details><summary>{_escape(_cut(section, 200))}<span>{number}</span></summary>"
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


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(_shown, value))
    return json.dumps(value)
