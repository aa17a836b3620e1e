"""The experiment: the same after any trip through JSON, and no wrong value gets through unnamed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.cli.train import load_experiment
from jaxlm.data.config import CurriculumStage, DataConfig, MixtureSource
from jaxlm.errors import DataError, UsageError
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import FREE_ON_RESUME, Experiment, flatten
from jaxlm.generation.config import GenerationConfig
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.config import ModelConfig
from jaxlm.parallel.config import MeshConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig

HERE = Path(__file__).parent
FINITE = st.floats(allow_nan=False, allow_infinity=False)
EXPERIMENTS = st.builds(
    Experiment,
    name=st.text(),
    seed=st.integers(),
    sample_prompt=st.text(),
    model=st.builds(
        ModelConfig,
        vocab_size=st.none() | st.integers(),
        use_bias=st.booleans(),
        dropout_rate=FINITE,
        positions=st.sampled_from(["learned", "sinusoidal", "rotary", "none"]),
    ),
    data=st.builds(DataConfig, files=st.lists(st.text()).map(tuple)),
    optimizer=st.builds(OptimizerConfig, learning_rate=FINITE, epsilon=FINITE),
    evaluation=st.builds(EvaluationConfig, stride=st.none() | st.integers()),
    sampling=st.builds(GenerationConfig, stop=st.lists(st.text()).map(tuple)),
    mesh=st.builds(MeshConfig, fsdp=st.integers()),
)


@given(EXPERIMENTS)
def test_plain_values_and_json_give_the_experiment_back(experiment):
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    assert Experiment.from_dict(json.loads(json.dumps(experiment.to_dict()))) == experiment


def test_what_is_left_out_takes_its_default():
    assert Experiment.from_dict({}) == Experiment()
    assert Experiment.from_dict({"model": {"num_layers": 2}}) == Experiment(model=ModelConfig(num_layers=2))


def test_a_whole_number_is_taken_for_a_real_one():
    rate = Experiment.from_dict({"optimizer": {"learning_rate": 1}}).optimizer.learning_rate
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "the experiment must be an object, not []"),
        ({"stepz": 5}, "unknown field 'stepz' (did you mean 'steps'?)"),
        ({"model": {"num_layer": 5}}, "unknown field 'model.num_layer' (did you mean 'num_layers'?)"),
        ({"model": 3}, "model must be an object, not 3"),
        ({"steps": "5"}, "steps is '5'; it must be a whole number"),
        ({"steps": 5.0}, "steps is 5.0; it must be a whole number"),
        ({"steps": True}, "steps is True; it must be a whole number"),
        ({"steps": None}, "steps is None; it must be a whole number"),
        ({"name": 5}, "name is 5; it must be text"),
        ({"model": {"use_bias": 1}}, "model.use_bias is 1; it must be true or false"),
        ({"model": {"vocab_size": "7"}}, "model.vocab_size is '7'; it must be a whole number"),
        ({"model": {"positions": "rotray"}}, "model.positions is 'rotray'; it must be one of learned, sinusoidal,"),
        ({"model": {"positions": []}}, "model.positions is []; it must be one of learned,"),
        ({"optimizer": {"learning_rate": "1"}}, "optimizer.learning_rate is '1'; it must be a finite number"),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate is nan; it must be a finite number"),
        ({"optimizer": {"learning_rate": float("inf")}}, "optimizer.learning_rate is inf; it must be a finite number"),
        ({"optimizer": {"learning_rate": 10**400}}, "optimizer.learning_rate is 1000"),
        ({"data": {"files": "a.txt"}}, "data.files is 'a.txt'; it must be texts"),
        ({"data": {"files": [1]}}, "data.files is 1; it must be text"),
        ({"evaluation": {"stride": 1.5}}, "evaluation.stride is 1.5; it must be a whole number"),
    ],
)
def test_every_kind_of_wrong_value_is_refused_by_name(values, message):
    with pytest.raises(DataError) as caught:
        Experiment.from_dict(values)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (Experiment(seed=-1), "seed is -1"),
        (Experiment(seed=2**32), "seed is 4294967296"),
        (Experiment(steps=0), "steps is 0"),
        (Experiment(batch_size=0), "batch_size is 0"),
        (Experiment(accumulation=0), "accumulation is 0"),
        (Experiment(log_every=0), "log_every is 0"),
        (Experiment(sample_every=-1), "sample_every is -1"),
        (Experiment(batch_size=12, accumulation=5), "batch_size 12 is not a multiple of accumulation 5"),
        (Experiment(model=ModelConfig(max_length=32)), "data.length 64 is longer than model.max_length 32"),
        (Experiment(evaluation=EvaluationConfig(stride=65)), "evaluation.stride 65 is longer than data.length 64"),
        # Each part is asked as well.
        (Experiment(model=ModelConfig(num_layers=0)), "model.num_layers is 0"),
        (Experiment(tokenizer=TokenizerConfig(vocab_size=9)), "tokenizer vocab_size=9"),
        (Experiment(data=DataConfig(length=0)), "data.length is 0"),
        (Experiment(optimizer=OptimizerConfig(learning_rate=0.0)), "optimizer.learning_rate is 0"),
        (Experiment(evaluation=EvaluationConfig(every=0)), "evaluation.every"),
        (Experiment(sampling=GenerationConfig(top_p=0.0)), "top_p is 0"),
        (Experiment(checkpoints=CheckpointConfig(every=0)), "checkpoints.every"),
        (Experiment(mesh=MeshConfig(fsdp=0)), "mesh.fsdp is 0"),
        # What Python itself lets through.
        (Experiment(steps="100"), "steps is '100'"),
        (Experiment(seed=np.int64(1)), "seed is"),
        (Experiment(model=ModelConfig(norm="rms")), "model.norm is 'rms'"),
        (Experiment(optimizer=OptimizerConfig(learning_rate=float("nan"))), "optimizer.learning_rate is nan"),
        (Experiment(model=None), "model must be an object"),
    ],
)
def test_an_impossible_experiment_is_refused_by_name(experiment, message):
    with pytest.raises(UsageError, match="^" + re.escape(message)):
        experiment.validate()


def test_the_default_experiment_is_possible():
    Experiment().validate()


def test_resolving_takes_sizes_from_the_tokenizer_and_the_data():
    resolved = Experiment(data=DataConfig(length=48)).resolve(vocab_size=65)
    assert (resolved.model.vocab_size, resolved.model.max_length) == (65, 48)
    assert resolved.resolve(65) == resolved
    given = Experiment(
        model=ModelConfig(vocab_size=128, max_length=100),
        optimizer=OptimizerConfig(learning_rate=0.01),
        evaluation=EvaluationConfig(every=9),
        checkpoints=CheckpointConfig(every=9),
    )
    assert given.resolve(65) == given
    with pytest.raises(UsageError, match=r"model.vocab_size 64 is smaller than the tokenizer's 65"):
        Experiment(model=ModelConfig(vocab_size=64)).resolve(65)


def test_a_resolved_experiment_equals_what_the_run_folder_gives_back():
    # A list of files, a whole learning rate: Python does not mind, JSON makes another value of them.
    sloppy = Experiment(data=DataConfig(source="text", files=["a.txt"]), optimizer=OptimizerConfig(learning_rate=1))
    resolved = sloppy.resolve(65)
    again = Experiment.from_dict(json.loads(json.dumps(resolved.to_dict())))
    assert again == resolved
    assert again.differences(sloppy.resolve(65)) == []


def test_differences_are_listed_with_both_values():
    own = Experiment()
    other = replace(own, steps=3, model=replace(own.model, dropout_rate=0.5), data=replace(own.data, files=("a",)))
    assert own.differences(own) == []
    assert own.differences(other) == [
        "steps: 2000 -> 3",
        "model.dropout_rate: 0.0 -> 0.5",
        "data.files: () -> ('a',)",
    ]


def test_where_and_how_to_compute_and_what_to_keep_may_differ():
    own = Experiment()
    other = replace(
        own,
        mesh=MeshConfig(data=2, fsdp=2, tensor=2),
        checkpoints=CheckpointConfig(every=1, keep_latest=5, keep_best=7),
        data=replace(own.data, cache_dir="/elsewhere", reader_threads=3, prefetch_batches=1),
    )
    assert own.differences(other) == []


def test_every_name_that_may_differ_exists():
    names = list(flatten(Experiment().to_dict()))
    for free in FREE_ON_RESUME:
        assert any(name.startswith(free) for name in names), free


def test_the_demo_experiment_is_what_was_reviewed():
    """To accept a change: write the text below into the file and look at the difference."""
    experiment = load_experiment(str(HERE.parent / "experiments" / "shakespeare_gpt.py")).resolve(vocab_size=65)
    flattened = "".join(f"{name} = {value!r}\n" for name, value in flatten(experiment.to_dict()).items())
    assert flattened == (HERE / "fixtures" / "shakespeare_gpt.txt").read_text("utf-8")


def test_changes_of_another_model_survive_json_and_are_compared():
    own = Experiment(start_from="runs/a", model_changes={"dropout_rate": 0.0, "rotary_scaling": {"factor": 2.0}})
    own.validate()
    again = Experiment.from_dict(json.loads(json.dumps(own.to_dict())))
    assert again == own
    again.validate()
    other = replace(own, model_changes={"dropout_rate": 0.2, "rotary_scaling": {"factor": 2.0}})
    assert own.differences(other) == ["model_changes.dropout_rate: 0.0 -> 0.2"]


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        # That it equals the default is no sign that nobody named it.
        (Experiment(start_from="a", model=ModelConfig(dropout_rate=0.0)), "model is given and start_from too"),
        (Experiment(start_from="a", model=ModelConfig(dropout_rate=0.1)), "model is given and start_from too"),
        (Experiment(start_from="a", tokenizer=TokenizerConfig("byte")), "tokenizer is given and start_from too"),
        (Experiment(model_changes={"dropout_rate": 0.1}), "model_changes names dropout_rate, and start_from no model"),
        (
            Experiment(start_from="a", model_changes={"dropout": 0.1}),
            "unknown field 'model_changes.dropout' (did you mean 'dropout_rate'?)",
        ),
        (
            Experiment(start_from="a", model_changes={"rotary_scaling": {"factor": "2"}}),
            "model_changes.rotary_scaling.factor is '2'; it must be a finite number",
        ),
        (
            Experiment(optimizer=OptimizerConfig(warmup_steps=5, warmup_fraction=0.0)),
            "optimizer.warmup_steps is 5 and optimizer.warmup_fraction 0.0: give one of them",
        ),
    ],
)
def test_nothing_that_is_named_is_passed_over(experiment, message):
    with pytest.raises(UsageError, match="^" + re.escape(message)):
        experiment.validate()


def test_resolving_takes_a_rate_that_suits_the_width_and_the_start():
    def rate(**changes):
        return Experiment(**changes).resolve(65).optimizer.learning_rate

    wide = ModelConfig(embed_dim=768, num_heads=12, vocab_size=65, max_length=64)
    assert rate() == 3e-3
    assert rate(model=wide) == 5e-4
    assert rate(task=TaskConfig("tagging")) == 1e-3
    assert rate(task=TaskConfig("sequence_to_sequence")) == 3e-3
    assert rate(model=wide, start_from="a", start_with="shape") == 5e-4
    assert rate(model=wide, start_from="a", start_with="shape", task=TaskConfig("classification")) == 3.3e-4
    assert rate(model=wide, start_from="a") == 6.4e-5
    assert rate(model=wide, start_from="a", adapter=AdapterConfig("lora")) == 6.4e-4
    assert rate(model=wide, optimizer=OptimizerConfig(learning_rate=1e-3)) == 1e-3


def test_differences_of_parts_in_a_list_are_named_one_by_one():
    def mixture(*weights):
        sources = tuple(MixtureSource(name=f"s{i}", weight=weight) for i, weight in enumerate(weights))
        return Experiment(data=DataConfig(mixture=sources, curriculum=(CurriculumStage(2, 8),)))

    assert mixture(1.0, 2.0).differences(mixture(1.0, 3.0)) == ["data.mixture.1.weight: 2.0 -> 3.0"]
    added = mixture(1.0, 2.0).differences(mixture(1.0, 2.0, 3.0))
    assert "data.mixture.2.weight: none -> 3.0" in added
    assert all(line.startswith("data.mixture.2.") for line in added)
    assert Experiment.from_dict(json.loads(json.dumps(mixture(1.0, 2.0).to_dict()))) == mixture(1.0, 2.0)
    broken = mixture(1.0, 2.0).to_dict()
    broken["data"]["mixture"][1]["weight"] = "much"
    with pytest.raises(DataError, match=r"data\.mixture\.1\.weight is 'much'; it must be a finite number"):
        Experiment.from_dict(broken)
