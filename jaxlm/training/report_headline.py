"""The head of a report: how far the run is, where it comes from, what to type next, and the figures that count."""

import shlex
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxlm.tasks.config import LABELLED
from jaxlm.training.report_curves import points_of
from jaxlm.training.report_markup import Record, cell, cut, escape, in_words
from jaxlm.training.report_results import result_facts

_MAX_COMMAND = 600  # characters
# What `jaxlm predict --text` takes where it is not one text: tabs divide the parts.
_PARTS = {
    "question_answering": "QUESTION\\tCONTEXT",
    "multiple_choice": "TEXT\\tCHOICE\\tCHOICE",
    "preference": "PROMPT\\tANSWER\\tANSWER",
}


def find(tree: Mapping[str, Any], key: str) -> Any:
    """The value of the outermost `key` anywhere in a nested dict, or None."""
    level = [tree]
    while level:
        for node in level:
            if node.get(key) is not None:
                return node[key]
        level = [child for node in level for child in node.values() if isinstance(child, dict)]
    return None


def status(description: Record, records: Sequence[Record]) -> str:
    """How far the run is."""
    if not records:
        return "no records yet"
    done, total = max(record["step"] for record in records), find(description, "steps")
    resumed = sum(record["kind"] == "event" and record.get("name") == "resumed" for record in records)
    text = f"step {done:,}"
    if isinstance(total, int) and total >= done:
        text = f"finished at step {done:,}" if total == done else f"step {done:,} of {total:,}"
    return text + ("" if not resumed else ", resumed once" if resumed == 1 else f", resumed {resumed:,} times")


def origin(description: Record) -> str:
    """Where the run comes from: date, code, machine, versions."""
    revision, *rest = (in_words(find(description, key) or "") for key in ("git_revision", "machine", "versions"))
    commit, changes, _ = revision.partition("+")  # the run folder marks a checkout with '+changes'
    started = in_words(find(description, "started") or "")
    found = [
        f"started {started}" if started else "",
        f"git revision {commit[:12]}{' with changes' if changes else ''}" if revision else "",
        *rest,
    ]
    return " · ".join(escape(cut(text, 300)) for text in found if text)


def commands(description: Record, folder: str, finished: bool) -> str:
    """The command that made the run, and the one that a reader would type next, as rows of a list."""
    rows = []
    if isinstance(made := description.get("command"), str) and made:
        rows.append(("Command", made))
    if next_one := next_command(description, folder, finished):
        rows.append(("Next", next_one))
    return "".join(
        f"<div><dt>{label}</dt><dd><code>{escape(cut(text, _MAX_COMMAND))}</code></dd></div>" for label, text in rows
    )


def next_command(description: Record, folder: str, finished: bool) -> str:
    """What to do with the run: go on, generate, predict, or fine-tune; nothing where the description tells no task."""
    own = description.get("experiment")
    task = own.get("task") if isinstance(own, dict) else None
    kind = task.get("kind") if isinstance(task, dict) else None
    model = own.get("model") if isinstance(own, dict) else None
    architecture = model.get("architecture") if isinstance(model, dict) else None
    run = shlex.quote(folder)
    if not isinstance(kind, str):
        return ""
    if not finished:
        return f"jaxlm train --dir {run}"
    if kind in LABELLED:
        text = f"$'{_PARTS[kind]}'" if kind in _PARTS else '"..."'
        return f"jaxlm predict {run} --text {text}"
    if architecture in ("decoder", "lstm"):
        return f'jaxlm generate {run} --prompt "..."'
    return f"jaxlm finetune {run} --task classification --train FILE.csv"


def facts(
    description: Record, train: Sequence[Record], validation: Sequence[Record], best: Record | None, results: Any
) -> str:
    """The figures that count, as the items of a list.

    Args:
      description: what experiment.json holds.
      train, validation: records of these kinds.
      best: the evaluation of the checkpoint that was chosen; None where there is none.
      results: what fine-tuning found, if this was one: its scores are the headline then.
    """
    found = result_facts(results)
    if best is not None and not found:
        found = _loss_facts(best, validation)
    elif best is None and (losses := points_of(train, "loss")):
        found.append(("Final training loss", f"{losses[-1][1]:.4f}", f"at step {losses[-1][0]:,}"))
    if isinstance(parameters := find(description, "parameters"), int):
        found.append(("Parameters", _count(parameters), f"{parameters:,}"))
    if tokens := points_of(train, "tokens"):
        found.append(("Tokens seen", _count(tokens[-1][1]), f"{tokens[-1][1]:,.0f}"))
    if seconds := points_of([*train, *validation], "seconds"):
        found.append(("Wall time", _duration(sum(value for _, value in seconds)), "training and validation"))
    if rates := points_of(train, "tokens_per_second"):
        note = "median"
        if utilisations := points_of(train, "mfu"):
            note += f", {statistics.median(value for _, value in utilisations):.1%} of peak FLOP/s"
        found.append(("Tokens per second", _count(statistics.median(value for _, value in rates)), note))
    return "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for label, value, note in found
    )


def _loss_facts(best: Record, validation: Sequence[Record]) -> list[tuple[str, str, str]]:
    last = [record for record in validation if points_of([record], "loss")][-1:]
    found = [("Best validation loss", f"{best['loss']:.4f}", f"at step {best['step']:,}")]
    if last and last[0] is not best:
        found.append(("Final validation loss", f"{last[0]['loss']:.4f}", f"at step {last[0]['step']:,}"))
    for field, label in (("perplexity", "Perplexity"), ("bits_per_byte", "Bits per byte")):
        for step, value in points_of([best], field):
            found.append((label, cell(value), f"at step {step:,}"))
    return found


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
