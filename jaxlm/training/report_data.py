"""The section of a report on its data: what was read of it, what its rows leave out, and what preparation dropped."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxlm.training.ledger import COUNTS, is_ledger
from jaxlm.training.report_markup import Record, cell, cut, table

_MAX_SOURCES = 100


def data_section(corpus: Any, records: Sequence[Record]) -> str:
    """Returns the section's markup; nothing where the run folder says nothing of its data.

    Args:
      corpus: what `jaxlm.training.inputs.Inputs.facts` gave, as the run folder has it; it is not trusted.
      records: those of the metrics log.
    """
    corpus = corpus if isinstance(corpus, dict) else {}
    train = _accounts(corpus, "train")
    tables = [
        _read_table(next((record for record in reversed(records) if is_ledger(record)), None), train),
        _rows_table(
            [("train", own) for own in train] + [("validation", own) for own in _accounts(corpus, "validation")]
        ),
        *_prepared_tables(corpus.get("prepared")),
    ]
    body = "".join(f'<div class="scroll data">{table}</div>' for table in tables if table)
    return f'<section aria-labelledby="data"><h2 id="data">Data</h2>{body}</section>' if body else ""


def _accounts(corpus: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    found = corpus.get(split)
    accounts = found if isinstance(found, list) else []
    return [own for own in accounts if isinstance(own, dict)][:_MAX_SOURCES]


def _read_table(ledger: Record | None, train: Sequence[Mapping[str, Any]]) -> str:
    """What was read up to the last step with a ledger, in all and of each source."""
    if ledger is None:
        return ""
    since = f", counted since step {cell(ledger['since'])}" if ledger.get("since") else ""
    head = ("source", "rows", "tokens read", "predicted", "padding", "fill", "epochs")
    sources = [(str(own.get("source", "")), f"_{index}") for index, own in enumerate(train)] if len(train) > 1 else []
    lines = [
        (name, *(cell(ledger.get(count + end)) for count in COUNTS), _fill(ledger, end), _epochs(ledger, end))
        for name, end in [*sources, ("all" if sources else _name(train), "")]
    ]
    return table(f"Read up to step {ledger['step']:,}{since}.", head, lines)


def _name(train: Sequence[Mapping[str, Any]]) -> str:
    return str(train[0].get("source", "")) if train else ""


def _fill(ledger: Record, end: str) -> str:
    tokens, padding = ledger.get(f"tokens{end}"), ledger.get(f"padding{end}")
    if not isinstance(tokens, int) or not isinstance(padding, int) or min(tokens, padding) < 0 or not tokens + padding:
        return ""
    return f"{100 * (tokens / (tokens + padding)):.4g} %"


def _epochs(ledger: Record, end: str) -> str:
    value = ledger.get(f"epochs{end}")
    return f"{value:.2f}" if isinstance(value, float) else ""


def _rows_table(accounts: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """How each split becomes rows."""
    head = ("split", "source", "documents", "tokens", "rows an epoch", "documents cut", "skipped", "left out", "fill")
    lines = [
        (
            split,
            str(own.get("source", "")),
            *(cell(own.get(name)) for name in ("documents", "tokens", "rows", "cut")),
            _reasons(own.get("skipped"), "documents"),
            _reasons(own.get("left_out"), "tokens"),
            f"{100 * own['fill_rate']:.4g} %" if isinstance(own.get("fill_rate"), float) else "drawn in each epoch",
        )
        for split, own in accounts
    ]
    caption = (
        "How documents become rows: those that no row has as a whole are cut; what an epoch has no row for, and why."
    )
    return table(caption, head, lines) if lines else ""


def _prepared_tables(prepared: Any) -> list[str]:
    """A table for each source that `jaxlm data prepare` made."""
    sources = prepared if isinstance(prepared, dict) else {}
    return [_prepared_table(name, own) for name, own in sources.items() if isinstance(own, dict)][:_MAX_SOURCES]


def _prepared_table(source: str, prepared: Mapping[str, Any]) -> str:
    """What `jaxlm data prepare` made of its input, a line for each fate."""
    lines = [("read", cell(prepared.get("read")), "documents")]
    for fate, what in (("dropped", "documents"), ("quarantined", "records"), ("scrubbed", "places")):
        counts = prepared.get(fate)
        if isinstance(counts, dict):
            lines += [(f"{fate}: {reason.replace('_', ' ')}", cell(count), what) for reason, count in counts.items()]
    lines.append(("kept", cell(prepared.get("kept")), "documents"))
    return table(f"What jaxlm data prepare did for {cut(source, 80)}.", ("", "count", "of"), lines)


def _reasons(counts: Any, what: str) -> str:
    if not isinstance(counts, dict) or not counts:
        return "none"
    return "; ".join(f"{cell(count)} {what} ({reason})" for reason, count in counts.items())
