"""What is taken where nothing is named: possible for every task, and of a make that can be exported."""

from typing import get_args

import pytest

from jaxlm.cli.train import parse
from jaxlm.defaults import experiment_on_text, model_for, preset_for, tokenizer_for
from jaxlm.errors import UsageError
from jaxlm.experiment import DEFAULT_MODEL, Experiment
from jaxlm.hub.registry import family_for
from jaxlm.models.presets import preset
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import LABELLED, TaskKind
from jaxlm.tasks.make import make_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from .slow_cases import slow_after
from .small_runs import TEXT, small_experiment, write_experiment_file

OF_TEXT = [kind for kind in get_args(TaskKind) if kind not in LABELLED]


@pytest.fixture
def book(tmp_path):
    file = tmp_path / "book.txt"
    file.write_text(TEXT)
    return file


@pytest.mark.parametrize("kind", OF_TEXT)
def test_each_objective_has_a_model_and_a_tokenizer_that_do_it(book, kind):
    experiment = parse([str(book), "--task.kind", kind]).experiment
    experiment.validate()
    assert (experiment.name, experiment.data.files) == ("book", (str(book),))
    tokenizer = train_tokenizer(experiment.tokenizer, [TEXT])
    resolved = experiment.resolve(tokenizer.vocab_size)
    make_task(resolved.task, resolved.model, resolved.data, tokenizer)  # it refuses what it cannot learn
    family_for(resolved.model)
    experiment_on_text(kind).validate()  # of the corpus in the package


@pytest.mark.parametrize("kind", LABELLED)
def test_each_task_on_labels_has_a_model(kind):
    model = model_for(kind)
    model.validate()
    tokenizer = tokenizer_for(model, kind)
    tokenizer.validate()
    assert tokenizer.kind != "wordpiece" or tokenizer.lowercase != (kind == "tagging"), "capitals tell names"


def test_what_is_named_wins_over_what_suits(book):
    words = [str(book), "--task.kind", "masked_lm", "--tokenizer.kind", "sentencepiece", "--model.embed-dim=64"]
    found = parse([*words, "--data.length", "32"]).experiment
    assert (found.model.embed_dim, found.model.architecture, found.data.length) == (64, "encoder", 32)
    assert (found.tokenizer.kind, found.tokenizer.special_tokens) == ("sentencepiece", ("[CLS]", "[SEP]", "[MASK]"))
    plain = parse([str(book), "--tokenizer.kind", "byte"]).experiment
    plain.validate()
    assert plain.tokenizer == TokenizerConfig("byte")


def test_more_text_is_read_in_pieces_by_a_wider_model(book, monkeypatch):
    assert experiment_on_text("causal_lm", [str(book)]).tokenizer.kind == "character"
    monkeypatch.setattr("jaxlm.defaults.SMALL_TEXT", 1000)
    found = experiment_on_text("causal_lm", [str(book)])
    assert (found.tokenizer.kind, found.model.embed_dim, found.model.family) == ("sentencepiece", 256, "llama")


def test_without_a_text_nothing_has_changed():
    assert parse(["--dir", "runs/none-of-this-name"]).experiment == Experiment()
    found = parse(["--dir", "x", "--start-from", "a", "--task.kind", "masked_lm"]).experiment
    assert found.model is DEFAULT_MODEL
    found.validate()


@pytest.mark.parametrize(
    ("name", "kind"),
    slow_after(
        4,
        [
            ("electra-small-discriminator", "replaced_token"),
            ("gpt2", "causal_lm"),
            ("t5-v1.1-small", "span_corruption"),
            ("bart-base", "denoising"),
            ("bert-tiny", "bert"),
            ("roberta-base", "masked_lm"),
            ("modernbert-base", "masked_lm"),
            ("electra-small-generator", "masked_lm"),
            ("llama-3.2-1b", "causal_lm"),
            ("mixtral-8x7b-v0.1", "causal_lm"),
            ("gemma-3-1b", "causal_lm"),
            ("lstm-medium", "causal_lm"),
            ("xlnet-base-cased", "permutation_lm"),
        ],
    ),
)
def test_a_preset_on_a_text_learns_what_it_was_pretrained_by(book, name, kind):
    experiment = parse([str(book), "--preset", name, "--dir", "new"]).experiment
    experiment.validate()
    assert experiment.task.kind == kind
    tokenizer = train_tokenizer(experiment.tokenizer, [TEXT])
    resolved = experiment.resolve(tokenizer.vocab_size)
    published = preset(name)
    assert (resolved.model.num_layers, resolved.model.mlp_dim) == (published.num_layers, published.mlp_dim)
    assert resolved.model.vocab_size == tokenizer.vocab_size
    make_task(resolved.task, resolved.model, resolved.data, tokenizer)


def test_a_preset_is_passed_over_nowhere(book, tmp_path):
    RunFolder(tmp_path / "run").write_experiment(Experiment().resolve(65), {})
    for name in ("transformer-base", "opus-mt-en-de"):
        with pytest.raises(UsageError, match=f"{name} learned from pairs of texts, and a text has none"):
            parse([str(book), "--preset", name])
    with pytest.raises(UsageError, match=r"jaxlm finetune --task tagging --preset bert-tiny --train FILE"):
        parse([str(book), "--preset", "bert-tiny", "--task.kind", "tagging"])
    with pytest.raises(UsageError, match="goes on with the model that it has: leave --preset out"):
        parse(["--dir", str(tmp_path / "run"), "--preset", "gpt2"])
    with pytest.raises(UsageError, match="--preset is for new models on texts"):
        parse([str(book), "--preset", "gpt2", "--start-from", "runs/a"])
    with pytest.raises(UsageError, match=r"unknown preset 'gpt-2' \(did you mean 'gpt2'\?\)"):
        parse([str(book), "--preset", "gpt-2"])


def test_a_preset_is_a_shape_for_another_vocabulary():
    model = preset_for("bert-tiny", 600)
    assert (model.vocab_size, model.max_length, model.embed_dim, model.family) == (None, 600, 128, "bert")
    with pytest.raises(UsageError, match=r"unknown preset 'bert-tny' \(did you mean 'bert-tiny'\?\)"):
        preset_for("bert-tny", 64)


def test_files_that_are_no_text_are_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_experiment_file(small_experiment(tmp_path), tmp_path / "own.py")
    for words, message in (
        (["a.csv"], "a.csv: .csv files hold labelled examples: jaxlm finetune --train FILE learns from them"),
        (["a.txt", "b.jsonl"], "name files of one kind"),
        (["own"], "there is no text own (did you mean 'own.py'?)"),
        (["none.txt"], "'none.txt' does not exist"),
        ([str(file), "text.txt"], "unexpected argument 'text.txt': an experiment file comes alone"),
    ):
        with pytest.raises(UsageError) as caught:
            parse(words)
        assert message in str(caught.value)
    assert parse(["text.txt"]).dir == "runs/text"
    assert parse(["*.txt", "--steps", "5"]).experiment.data.files == ("*.txt",)
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    assert parse(["a.jsonl"]).experiment.data.source == "jsonl"
