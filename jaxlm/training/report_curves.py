"""The curves of a report: which measures have one, and the points that are drawn."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from jaxlm.training.metrics_log import TIMING_FIELDS
from jaxlm.training.report_markup import Record, escape

_MAX_POINTS = 2000  # per curve; above it, buckets of minimum, mean and maximum
_BUCKETS = 700
_MAX_OTHER_CHARTS = 6

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


def points_of(records: Iterable[Record], field: str) -> list[tuple[int, float]]:
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


def charts_of(
    train: Sequence[Record], validation: Sequence[Record], score: str = "loss", hooks: Sequence[Record] = ()
) -> list[dict[str, Any]]:
    """What the page's script draws: a chart for each measure, the usual ones first.

    Args:
      train, validation, hooks: records of these kinds.
      score: what checkpoints are chosen by, whose chart comes first.
    """
    others = dict.fromkeys(
        field for record in [*hooks, *train, *validation] for field in record if field not in _NO_OTHER_CHART | {score}
    )
    named = [
        *([(score.replace("_", " ").capitalize(), "", score)] if score != "loss" else []),
        ("Loss", "", "loss"),
        ("Learning rate", "", "learning_rate"),
        ("Gradient norm", "", "gradient_norm"),
        ("Throughput", "tokens per second", "tokens_per_second"),
    ]
    kinds = {"train": train, "validation": validation, "hook": hooks}
    charts = [_chart(title, unit, field, kinds) for title, unit, field in named]
    rest = [_chart(field.replace("_", " ").capitalize(), "", field, kinds) for field in others]
    found = [chart for chart in charts if chart] + [chart for chart in rest if chart][:_MAX_OTHER_CHARTS]
    return [{**chart, "wide": place == 0} for place, chart in enumerate(found)]


def _chart(title: str, unit: str, field: str, kinds: Mapping[str, Sequence[Record]]) -> dict[str, Any] | None:
    series, summary, notes = [], [], []
    for name, records in kinds.items():
        points = points_of(records, field)
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
    if not notes and all(len(own["x"]) < 2 for own in series):
        return None  # a dot says no more than the table does
    axis = unit or title.lower()
    chart: dict[str, Any] = {"title": title, "unit": unit, "axis": axis, "series": series, "note": " ".join(notes)}
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


def figure_of(chart: Mapping[str, Any]) -> str:
    """The place of a chart on the page."""
    unit = f' <span class="unit">{escape(chart["unit"])}</span>' if chart["unit"] else ""
    legend = "".join(
        f'<span><span class="swatch" style="border-color: var(--{series["name"]})"></span>{series["name"]}</span>'
        for series in chart["series"]
        if len(chart["series"]) > 1 or series["name"] != "train"
    )
    note = f'<p class="note">{escape(chart["note"])}</p>' if chart["note"] else ""
    classes = "chart wide" if chart["wide"] else "chart"
    return (
        f'<figure class="{classes}"><figcaption><strong>{escape(chart["title"])}{unit}</strong>'
        f'<span class="legend">{legend}</span></figcaption><div class="plot"></div>{note}</figure>\n'
    )
