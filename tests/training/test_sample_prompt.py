"""What samples of training go on from is looked at before the first step."""

from pathlib import Path

import pytest

from jaxlm.errors import UsageError
from jaxlm.run_folder import RunFolder
from jaxlm.training.inputs import prepare_inputs

from ..small_runs import small_experiment


def settled(folder: Path, text: str | None = None, **changes) -> str:
    """The prompt of a run on `text`."""
    experiment = small_experiment(folder, sample_every=5, **changes)
    if text is not None:
        Path(experiment.data.files[0]).write_text(text)
    return prepare_inputs(experiment, RunFolder(folder / "run")).experiment.sample_prompt


def test_without_a_name_it_is_a_newline_or_the_beginning_of_the_text(tmp_path):
    assert settled(tmp_path, sample_prompt=None, data__length=32) == "\n"
    assert (
        settled(tmp_path, "  One line of text only. " * 40, sample_prompt=None, data__length=32)
        == "One line of text onl"
    )
    assert settled(tmp_path, sample_prompt="The") == "The"


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("Thé", "sample_prompt 'Thé': text outside the character vocabulary: 'é' (U+00E9"),
        ("", "sample_prompt '': the prompt is empty"),
        ("The old man " * 2, "24 tokens, more than the model's context of 16"),
    ],
)
def test_one_that_cannot_be_written_is_refused_at_once(tmp_path, prompt, problem):
    with pytest.raises(UsageError) as caught:
        settled(tmp_path, sample_prompt=prompt)
    assert problem in str(caught.value)
    assert str(caught.value).endswith("name another with --sample-prompt, or --sample-every 0 for no samples")
