"""The first hour: a book and a table of reviews, with nothing else said but how small it may be; and what is shown."""

import pytest

from jaxlm import progress

from ..small_runs import TEXT

SMALL = ("--model.num-layers", "1", "--model.embed-dim", "16", "--model.num-heads", "2", "--data.length", "16")
SMALL += ("--batch-size", "8")  # there are 8 devices here


@pytest.fixture
def works(monkeypatch):
    """The pieces of work that say how far they are."""
    begun = []

    class Recorded(progress.Progress):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            begun.append(self)

    monkeypatch.setattr(progress, "Progress", Recorded)
    return begun


def counts(works, label):
    """Of the works with such a label, what is done and what there is to do."""
    return [(work.done, work.total, work.unit) for work in works if work.label.startswith(label)]


def test_a_book_is_trained_on_measured_continued_and_exchanged(jaxlm, works, tmp_path):
    book, run = tmp_path / "book.txt", tmp_path / "run"
    book.write_text(f"No cache holds this line.\n{TEXT}")
    code, output, _ = jaxlm("train", book, "--dir", run, "--steps", 2, *SMALL)
    assert code == 0
    assert "100.0%" in output
    assert f"run folder: {run}   report: {run}/report.html" in output
    assert "export: " not in output
    assert counts(works, "compiling the step for rows of 16 tokens")
    assert counts(works, "tokenizing")
    ((done, total, unit),) = counts(works, "step 2: validation")
    assert (done, unit) == (total, "rows")

    works.clear()
    assert jaxlm("evaluate", run)[0] == 0
    ((done, total, _),) = counts(works, "evaluating in windows of 16 tokens")
    assert done == total > 10
    code, text, _ = jaxlm("generate", run, "--prompt", "The", "--max-new-tokens", 5)
    assert (code, text[:3]) == (0, "The")
    assert counts(works, "reading the prompt")
    assert jaxlm("export", run, tmp_path / "hf")[0] == 0
    assert jaxlm("import", tmp_path / "hf", tmp_path / "again")[0] == 0
    for label in ("reading weights", "writing weights"):
        ((done, total, unit),) = counts(works, label)
        assert (done, unit) == (total, "tensors")
        assert total > 10


def test_a_model_that_no_family_holds_is_announced_when_training_starts(jaxlm, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text(TEXT)
    words = ("train", book, "--dir", tmp_path / "run", "--steps", 1, *SMALL, "--model.positions", "sinusoidal")
    code, output, _ = jaxlm(*words)
    assert code == 0
    before, _ = output.split("loss", 1)
    assert "export: " in before
    assert "positions" in before


@pytest.mark.slow
def test_reviews_are_learned_and_predicted_without_another_model(jaxlm, works, tmp_path):
    reviews, run = tmp_path / "reviews.csv", tmp_path / "run"
    reviews.write_text("text,label\n" + "".join(f"good film {n},pos\nbad film {n},neg\n" for n in range(40)))
    code, output, _ = jaxlm(
        *("finetune", "--preset", "bert-tiny", "--train", reviews, "--epochs", 1, "--dir", run, "--max-length", 16)
    )
    assert code == 0
    assert "task: classification, since label holds 2 labels" in output
    assert "(always 'pos': " in output or "(always 'neg': " in output
    assert counts(works, "training a")
    assert counts(works, "encoding")
    works.clear()
    assert jaxlm("predict", run, "--file", reviews)[0] == 0
    assert counts(works, "predicting") == [(80, 80, "rows")]
