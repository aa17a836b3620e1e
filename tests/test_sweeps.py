"""Several settings and seeds: ranked by their score, whichever way it is better."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from jaxlm import sweeps
from jaxlm.evaluation.results import SplitResult
from jaxlm.experiment import Experiment
from jaxlm.finetuning import FinetuneResult
from jaxlm.sweeps import PAGE, sweep

SCORES = {"a": (0.70, 0.74), "b": (0.90, 0.80), "<c>": (0.75, 0.75)}


@pytest.fixture
def measured(monkeypatch):
    """Lets fine-tuning give the scores of `SCORES`, or 1 minus them where a lower one is better."""

    def by(score="accuracy", higher=True):
        def finetune(experiment, folder):
            value = SCORES[experiment.name][experiment.seed]
            split = SplitResult(
                40, 0.5, score, {score: value if higher else 1 - value}, {}, higher_is_better={score: higher}
            )
            return FinetuneResult(Path(folder), 9, None, {"validation": split})

        monkeypatch.setattr(sweeps, "finetune", finetune)

    return by


def swept(folder, names=SCORES, seeds=(0, 1)):
    return sweep({name: Experiment(name=name) for name in names}, seeds, folder)


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_setting_is_first(measured, tmp_path, higher, capsys):
    measured("accuracy" if higher else "mse", higher)
    found = swept(tmp_path)
    assert [setting.name for setting in found.settings] == ["b", "<c>", "a"]
    assert found.best.folder == tmp_path / "b" / "seed-0"
    assert "run 3 of 6: b, seed 0" in capsys.readouterr().out


def test_the_table_has_means_and_spreads(measured, tmp_path):
    measured()
    lines = swept(tmp_path).lines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("rank"))
    assert lines[head].split() == ["rank", "setting", "seeds", "validation", "accuracy"]
    assert lines[head + 1].split() == ["1", "b", "2", "0.8500", "+-", "0.0707"]
    assert "b: validation, 40 examples, 2 seeds: accuracy 0.8500 +- 0.0707" in lines
    assert lines[-1] == f"all of them: {tmp_path / PAGE}"


def test_the_page_links_each_run_and_escapes_names(measured, tmp_path):
    measured()
    swept(tmp_path)
    text = (tmp_path / PAGE).read_text()

    class Page(HTMLParser):
        def __init__(self):
            super().__init__()
            self.links = []

        def handle_starttag(self, tag, attrs):
            assert tag != "c"
            self.links += [value for name, value in attrs if name == "href"]

    page = Page()
    page.feed(text)
    assert page.links[0] == "b/seed-0/report.html"
    assert len(page.links) == 6


def test_a_single_run_is_a_line_and_no_page(measured, tmp_path):
    measured()
    found = sweep({"": Experiment(name="a")}, (0,), tmp_path)
    assert found.lines() == [
        "validation, 40 examples: accuracy 0.7000",
        f"run folder: {tmp_path}   report: {tmp_path / 'report.html'}",
    ]
    assert not (tmp_path / PAGE).exists()
    assert "0.7000" in found._repr_html_()
