"""Several settings with several seeds each: fine-tuned one after the other, ranked in a table and on a page."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import jax

from jaxlm.evaluation.results import html_table
from jaxlm.experiment import Experiment
from jaxlm.finetuning import FinetuneResult, finetune
from jaxlm.training.metrics_log import write_atomically
from jaxlm.training.report import REPORT_FILE
from jaxlm.training.report_markup import escape

PAGE = "sweep.html"
RANKED_BY = "validation"  # the split; the test split must not choose


@dataclass(frozen=True)
class Setting:
    """What came of one setting.

    Attributes:
      name: what tells it apart, such as "learning_rate=0.001"; empty for a single one.
      runs: one for each seed.
    """

    name: str
    runs: Sequence[FinetuneResult]

    @property
    def score(self) -> str:
        """The name of the score that counts most."""
        return self.runs[0].splits[RANKED_BY].main

    def values(self, split: str, score: str) -> list[float]:
        """A score of each seed."""
        return [run.splits[split].scores[score] for run in self.runs]

    def shown(self, split: str, score: str) -> str:
        """A score in words: the value, or the mean and the standard deviation over seeds."""
        values = self.values(split, score)
        spread = f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        return f"{statistics.fmean(values):.4f}{spread}"

    def lines(self) -> list[str]:
        """The scores of each split in words, then what is wrong with the predictions of a run, if something is."""
        lines = []
        for split, first in self.runs[0].splits.items():
            head = f"{self.name and f'{self.name}: '}{split}, {first.examples:,} examples"
            if len(self.runs) == 1:
                lines.append(f"{head}: {first.line()}")
            else:
                names = (first.main, *(score for score in first.scores if score != first.main))
                scores = [f"{name} {self.shown(split, name)}" for name in names]
                scores[0] += first.beside()
                lines.append(f"{head}, {len(self.runs)} seeds: {', '.join(scores)}")
            remarks = [run.splits[split].remark for run in self.runs]
            lines += [f"warning: {remark}" for remark in remarks if remark]
        return lines


@dataclass(frozen=True)
class Sweep:
    """Settings, the best first.

    Attributes:
      folder: that the runs lie below; its sweep.html has the table, where there are several.
      settings: ranked by the mean over seeds of the main score on the validation examples.
    """

    folder: Path
    settings: Sequence[Setting]

    @property
    def best(self) -> FinetuneResult:
        """The run with the best validation score."""
        runs = [run for setting in self.settings for run in setting.runs]
        return max(runs, key=lambda run: _goodness(run, self.settings[0].score))

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The head and the rows of the ranked table, as texts."""
        splits = list(self.settings[0].runs[0].splits)
        score = self.settings[0].score
        head = ("rank", "setting", "seeds", *(f"{split} {score}" for split in splits))
        rows = [
            (str(rank), own.name or "-", str(len(own.runs)), *(own.shown(split, score) for split in splits))
            for rank, own in enumerate(self.settings, 1)
        ]
        return head, rows

    def lines(self) -> list[str]:
        """What the command line prints: the scores of each setting, the ranked table, where the runs are."""
        lines = [line for setting in self.settings for line in setting.lines()]
        if len(self.settings) > 1:
            head, rows = self.table()
            widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
            lines.append("")
            lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]
        for setting in self.settings:
            lines += [f"run folder: {run.folder}   report: {run.report}" for run in setting.runs]
        if (self.folder / PAGE).is_file():
            lines.append(f"all of them: {self.folder / PAGE}")
        return lines

    def _repr_html_(self) -> str:
        head, rows = self.table()
        return html_table(str(self.folder), head, rows)


def sweep(settings: Mapping[str, Experiment], seeds: Sequence[int], folder: str | os.PathLike) -> Sweep:
    """Fine-tunes each setting with each seed, in folders of their own below `folder`; goes on where it was stopped.

    Args:
      settings: experiments by name.
      seeds: decide initial heads, data order and dropout.
      folder: where to. With more than one run it holds sweep.html, a table that links to each run's report.

    Raises:
      UsageError, DataError, CheckpointError, NonFiniteLossError, Preempted: as `jaxlm.finetuning.finetune`.
    """
    folder, count = Path(folder).absolute(), len(settings) * len(seeds)
    found: dict[str, list[FinetuneResult]] = {name: [] for name in settings}
    for number, (name, seed) in enumerate(((name, seed) for name in settings for seed in seeds), 1):
        if count > 1 and jax.process_index() == 0:
            print(f"run {number} of {count}: {', '.join(filter(None, (name, f'seed {seed}')))}", flush=True)
        own = folder / name / (f"seed-{seed}" if len(seeds) > 1 else "")
        found[name].append(finetune(replace(settings[name], seed=seed), own))
    ranked = [Setting(name, runs) for name, runs in found.items()]
    ranked.sort(key=lambda own: -statistics.fmean(_goodness(run, own.score) for run in own.runs))
    result = Sweep(folder, ranked)
    if count > 1 and jax.process_index() == 0:
        write_atomically(folder / PAGE, _page(result).encode("utf-8", "replace"))
    return result


def _goodness(run: FinetuneResult, score: str) -> float:
    """The score of a run, turned so that higher is better."""
    split = run.splits[RANKED_BY]
    return split.scores[score] if split.higher_is_better[score] else -split.scores[score]


def _page(found: Sweep) -> str:
    """The page: the ranked table, and each run with a link to its report."""
    head, rows = found.table()
    style = files("jaxlm.training").joinpath("report_template.css").read_text("utf-8")
    runs = [
        (setting.name or "-", str(run.folder.relative_to(found.folder)), run.splits[RANKED_BY])
        for setting in found.settings
        for run in setting.runs
    ]
    linked = "".join(
        f'<tr><th scope="row"><a href="{escape(f"{place}/{REPORT_FILE}")}">{escape(place)}</a></th>'
        f"<td>{escape(name)}</td><td>{escape(split.line())}</td></tr>"
        for name, place, split in runs
    )
    ranked = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    title = f"{escape(found.folder.name)}: {len(runs)} runs"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{style}</style></head><body><header>"
        f'<p class="kicker">jaxlm sweep</p><h1>{title}</h1><p class="status">Ranked by the mean over seeds on the '
        f'{RANKED_BY} examples.</p></header><main><section><h2>Settings</h2><div class="scroll data"><table><thead><tr>'
        f"{_cells('th', head)}</tr></thead><tbody>{ranked}</tbody>"
        '</table></div></section><section><h2>Runs</h2><div class="scroll data"><table class="settings"><thead><tr>'
        f"{_cells('th', ('run', 'setting', RANKED_BY))}</tr></thead><tbody>{linked}</tbody></table></div></section>"
        "</main></body></html>\n"
    )


def _cells(tag: str, texts: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
