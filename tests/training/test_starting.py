"""What a model becomes when another task begins from it."""

from dataclasses import replace

import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.errors import UsageError
from jaxlm.experiment import Experiment
from jaxlm.hub.registry import family_for
from jaxlm.models.config import ModelConfig
from jaxlm.models.presets import preset
from jaxlm.tasks.config import TaskConfig
from jaxlm.training.config import OptimizerConfig
from jaxlm.training.starting import adapted_model


def begun_from(source: ModelConfig, kind: str, freeze: tuple[str, ...] = (), **model) -> ModelConfig:
    """The model of a task of `kind` with two labels."""
    labels = ("a", "b") if kind in ("tagging", "classification") else ()
    return adapted_model(
        source,
        Experiment(
            model_changes=model,
            task=TaskConfig(kind, labels=labels),
            data=DataConfig(source="examples", length=16),
            examples=ExamplesConfig(("a.tsv",)),
            start_from="other",
            optimizer=OptimizerConfig(freeze=freeze),
        ),
    )


@pytest.mark.parametrize("kind", ["tagging", "question_answering", "classification", "multiple_choice"])
@pytest.mark.parametrize(
    "name",
    [
        *("bert-mini", "distilbert-base-uncased", "roberta-base", "electra-small-discriminator", "modernbert-base"),
        *("mpnet-base", "camembert-base", "deberta-v3-small"),
    ],
)
def test_an_encoder_becomes_what_its_family_publishes_for_the_task(name, kind):
    source = preset(name)
    model = begun_from(source, kind)
    family, _ = family_for(model, source.family, ("a", "b")[: model.num_labels])
    assert family.name == source.family
    if name != "modernbert-base":
        assert not model.head_transform, "it belongs to the language model's head, which is left behind"


def test_what_transforms_tokens_stays_where_labels_are_told_from_it():
    asked = begun_from(preset("bert-mini"), "tagging", head_transform=True)
    assert asked.head_transform, "as the experiment says"
    assert begun_from(asked, "tagging").head_transform, "of a tagger that has it"
    assert begun_from(preset("modernbert-base"), "tagging").head_transform


def test_what_is_named_wins_and_nothing_else_changes():
    source = replace(preset("bert-mini"), dropout_rate=0.1, attention_dropout_rate=0.2, dtype="bfloat16")
    kept = begun_from(source, "classification")
    assert (kept.dropout_rate, kept.attention_dropout_rate, kept.dtype) == (0.1, 0.2, "bfloat16")
    # Each of these is a default of ModelConfig.
    changed = begun_from(source, "classification", dropout_rate=0.0, attention_dropout_rate=0.0, dtype="float32")
    assert (changed.dropout_rate, changed.attention_dropout_rate, changed.dtype) == (0.0, 0.0, "float32")
    far = begun_from(preset("llama-3.2-1b"), "chat", rotary_scaling={"factor": 8.0}).rotary_scaling
    assert far == replace(preset("llama-3.2-1b").rotary_scaling, factor=8.0)


def test_layers_that_are_frozen_by_number_have_names_of_their_own():
    source = replace(preset("bert-mini"), layers="scanned")
    assert begun_from(source, "classification").layers == "scanned"
    assert begun_from(source, "classification", freeze=("layers/*/mlp/*",)).layers == "scanned"
    for pattern in ("layers/0/*", "layers/[01]/*", "encoder/layers/?/*"):
        assert begun_from(source, "classification", freeze=(pattern,)).layers == "unrolled", pattern


def test_what_the_task_decides_cannot_be_named_otherwise():
    with pytest.raises(
        UsageError, match=r"model\.num_labels is 5, and task\.kind 'classification' needs 2: leave it out"
    ):
        begun_from(preset("bert-mini"), "classification", num_labels=5)
    assert begun_from(preset("bert-mini"), "classification", num_labels=2).num_labels == 2


def test_a_pretrained_encoder_stands_for_a_text_as_its_make_does_or_by_the_mean():
    published, own = preset("bert-mini"), replace(preset("bert-mini"), family=None)
    for source, pooling in ((published, "first"), (own, "mean"), (replace(own, pooling="last"), "last")):
        found = begun_from(source, "classification")
        assert (found.pooling, found.pooler) == (pooling, source.pooler)
    assert begun_from(own, "classification", pooling="first").pooling == "first"
    assert begun_from(own, "tagging").pooling == own.pooling  # has none


def test_a_new_decoder_stands_for_a_text_by_its_last_token_or_as_it_says():
    for pooling, expected in (("first", "last"), ("mean", "mean")):
        experiment = Experiment(
            model=ModelConfig(pooling=pooling),
            task=TaskConfig("classification", labels=("a", "b")),
            data=DataConfig(source="examples", length=16),
        )
        assert adapted_model(experiment.model, experiment).pooling == expected
