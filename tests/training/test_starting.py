"""What a model becomes when another task begins from it."""

import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.experiment import Experiment
from jaxlm.hub.registry import family_for
from jaxlm.models.config import ModelConfig
from jaxlm.models.presets import preset
from jaxlm.tasks.config import TaskConfig
from jaxlm.training.starting import adapted_model


def begun_from(source: ModelConfig, kind: str, **model) -> ModelConfig:
    """The model of a task of `kind` with two labels."""
    labels = ("a", "b") if kind in ("tagging", "classification") else ()
    return adapted_model(
        source,
        Experiment(
            model=ModelConfig(**model),
            task=TaskConfig(kind, labels=labels),
            data=DataConfig(source="examples", length=16),
            examples=ExamplesConfig(("a.tsv",)),
            start_from="other",
        ),
    )


@pytest.mark.parametrize("kind", ["tagging", "question_answering", "classification", "multiple_choice"])
@pytest.mark.parametrize(
    "name", ["bert-mini", "distilbert-base-uncased", "roberta-base", "electra-small-discriminator", "modernbert-base"]
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
