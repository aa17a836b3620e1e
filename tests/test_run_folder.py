"""The run folder's description: what was written comes back, and damage is named."""

import json
from pathlib import Path

import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.experiment import Experiment
from jaxlm.hub.imported import Imported
from jaxlm.models.config import ModelConfig
from jaxlm.prediction.config import VectorConfig
from jaxlm.run_folder import LARGEST_DESCRIPTION, RunFolder, identity
from jaxlm.training.config import OptimizerConfig


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.write_experiment(Experiment(name="Räuber").resolve(65), {"parameters": 123})
    return folder


def identity_of(step, steps=100, **optimizer):
    experiment = Experiment(steps=steps, optimizer=OptimizerConfig(**optimizer)).resolve(65)
    return identity({"experiment": experiment.to_dict()}, step)


def test_the_length_counts_where_learning_rates_depend_on_it():
    constant = {"schedule": "constant", "warmup_steps": 5}
    assert identity_of(80, **constant) == identity_of(80, steps=200, **constant)
    late = {"schedule": "wsd", "warmup_steps": 5, "decay_fraction": 0.2}
    assert identity_of(80, **late) == identity_of(80, steps=200, **late)
    assert identity_of(81, **late) != identity_of(81, steps=200, **late)
    for falling in ("cosine", "linear"):
        assert identity_of(10, schedule=falling, warmup_steps=5) != identity_of(
            10, 200, schedule=falling, warmup_steps=5
        )
    # A warmup that is a share of all steps is longer in a longer run.
    assert identity_of(80, schedule="constant") != identity_of(80, steps=200, schedule="constant")
    assert identity_of(80, **constant) != identity_of(80, **constant, weight_decay=0.5)


def test_an_address_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for address in ("gs://bucket/run", "s3://bucket", "file:///tmp/run", Path("gs://bucket/run")):
        with pytest.raises(
            UsageError, match="is no path of this machine, and jaxlm reads and writes nothing else: copy "
        ):
            RunFolder(address)
    RunFolder("runs/a:b")
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_comes_back(run):
    assert run.exists()
    assert run.read_experiment() == Experiment(name="Räuber").resolve(65)
    assert sorted(path.name for path in run.path.iterdir()) == ["experiment.json"]


def test_the_description_says_what_ran_where(run):
    description = json.loads(run.description.read_text("utf-8"))
    assert description["name"] == "Räuber"
    assert description["parameters"] == 123
    assert {"jaxlm", "jax", "flax", "optax", "orbax-checkpoint", "numpy"} <= set(description["versions"])
    assert "Python" in description["machine"]
    assert "git_revision" in description


def test_parts_lie_where_other_programs_look_for_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder("run")
    assert folder.path == tmp_path / "run"
    assert folder.description == tmp_path / "run" / "experiment.json"
    assert folder.tokenizer == tmp_path / "run" / "tokenizer"
    assert folder.checkpoints == tmp_path / "run" / "checkpoints"
    assert not folder.exists()


def test_a_folder_that_is_none_and_one_of_something_else_are_told_apart(tmp_path):
    with pytest.raises(UsageError, match=r"there is no folder .*nothing"):
        RunFolder(tmp_path / "nothing").read_experiment()
    with pytest.raises(UsageError, match=r"is not a run folder: it has no experiment\.json"):
        RunFolder(tmp_path).read_experiment()


def damaged(values):
    return json.dumps({"experiment": {**Experiment().resolve(65).to_dict(), **values}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ('{"experiment": {', "is damaged"),
        ("[1, 2]", "is damaged"),
        ("{}", "is damaged: 'experiment'"),
        ("[" * 100_000, "is damaged"),
        ('{"experiment": ' + "9" * 5000 + "}", "is damaged"),
        ('{"experiment": 3}', "must be an object, not 3"),
        (damaged({"stepz": 1}), "unknown field 'stepz'"),
        (damaged({"steps": "1"}), "steps is '1'"),
        (damaged({"optimizer": {"learning_rate": 10**400}}), "optimizer.learning_rate is 1000"),
        (damaged({"model": {"vocab_size": 65, "max_length": 64, "num_heads": 0}}), "model.num_heads is 0"),
        (damaged({"model": {}}), "model.vocab_size"),
    ],
    ids=lambda text: None if len(text) > 40 else text,
)
def test_damage_is_named_with_the_file(run, text, message):
    run.description.write_text(text)
    with pytest.raises(DataError, match=f"experiment.json.*{message}") as caught:
        run.read_experiment()
    assert len(str(caught.value)) < 500


def test_bytes_that_are_no_text_are_damage(run):
    run.description.write_bytes(b'{"experiment": "\xff"}')
    with pytest.raises(DataError, match="is damaged"):
        run.read_experiment()


def test_a_huge_description_is_not_read(run):
    run.description.write_text(" " * LARGEST_DESCRIPTION + "{}")
    with pytest.raises(DataError, match="more than 16,777,216 bytes"):
        run.read_experiment()


def test_a_description_is_replaced_whole(run):
    run.description.with_suffix(".tmp").write_text("left by a process that was killed")
    other = Experiment(steps=5, model=ModelConfig(num_layers=1)).resolve(65)
    run.write_experiment(other, {})
    assert run.read_experiment() == other
    assert sorted(path.name for path in run.path.iterdir()) == ["experiment.json"]


def test_what_an_import_adds_comes_back_or_is_damage(run):
    assert run.read_imported() == Imported()
    imported = Imported(
        token_ids={"eos_token_id": [1, 2], "pad_token_id": None},
        labels=("bad", "good"),
        vectors=VectorConfig(("first", "max"), normalize=True, max_length=7),
        config={"problem_type": "regression"},
        generation={"bad_words_ids": [[3]]},
    )
    added = imported.facts()
    run.write_experiment(Experiment().resolve(65), added)
    assert run.read_imported() == imported
    for wrong in (
        {"token_ids": [1]},
        {"token_ids": {"eos_token_id": "1"}},
        {"labels": "bad"},
        {"labels": [1]},
        {"vectors": {"pooling": ["least"]}},
        {"vectors": {"pooling": ["mean"], "longest": 3}},
        {"config": []},
        {"generation": 1},
    ):
        run.write_experiment(Experiment().resolve(65), {**added, **wrong})
        with pytest.raises(DataError, match=r"experiment\.json is damaged: "):
            run.read_imported()


def test_the_text_that_training_began_with_is_known_unless_the_run_is_older(tmp_path):
    run = RunFolder(tmp_path)
    for facts, known in (({}, None), ({"corpus": {}}, None), ({"corpus": {"fingerprint": "ab"}}, "ab")):
        run.write_experiment(Experiment().resolve(65), facts)
        assert run.corpus_fingerprint() == known
    for wrong in ([], {"fingerprint": 3}):
        run.write_experiment(Experiment().resolve(65), {"corpus": wrong})
        with pytest.raises(DataError, match="is damaged: corpus must be an object with a fingerprint"):
            run.corpus_fingerprint()
