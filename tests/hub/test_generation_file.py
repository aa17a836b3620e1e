import json

import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.hub.generation_file import FoundGeneration, generation_values, read_generation_config

NONE = {"eos_token_id": None}


def read(folder, token_ids=NONE, **values):
    (folder / "generation_config.json").write_text(json.dumps(values))
    found = read_generation_config(folder, token_ids)
    return found.config, list(found.notes)


def test_a_directory_may_say_nothing(tmp_path):
    assert read_generation_config(tmp_path, NONE) == FoundGeneration(None)
    found = read_generation_config(tmp_path, {"eos_token_id": 2})
    assert found == FoundGeneration(GenerationConfig(temperature=0.0, end_ids=(2,)))


def test_greedy_is_the_default_and_sampling_has_theirs(tmp_path):
    config, notes = read(tmp_path, temperature=0.7, top_k=3, eos_token_id=[5, 6], max_new_tokens=9)
    assert (config, notes) == (GenerationConfig(temperature=0.0, end_ids=(5, 6), max_new_tokens=9), [])
    config, _ = read(tmp_path, do_sample=True, temperature=0.7)
    assert config == GenerationConfig(temperature=0.7, top_k=50)
    config, _ = read(tmp_path, num_beams=4, length_penalty=2.0)
    assert config == GenerationConfig(temperature=0.0, num_beams=4, length_penalty=2.0)
    assert "num_beams = 4 together with do_sample" in read(tmp_path, num_beams=4, do_sample=True)[1][0]
    config, _ = read(tmp_path, {"eos_token_id": 9}, do_sample=True, top_k=0, top_p=0.9)
    assert config == GenerationConfig(top_p=0.9, end_ids=(9,))


def test_what_we_do_not_do_is_noted_and_what_changes_nothing_is_not(tmp_path):
    neutral = {
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "use_cache": True,
        "transformers_version": "4",
        "max_length": 20,
    }
    assert read(tmp_path, **neutral)[1] == []
    _, notes = read(
        tmp_path, num_beam_groups=2, repetition_penalty=1.1, bad_words_ids=[[3]], some_future_field=1, max_length=99
    )
    said = " ".join(notes)
    assert len(notes) == 5
    for name in (
        "num_beam_groups = 2",
        "repetition_penalty = 1.1",
        "bad_words_ids",
        "some_future_field",
        "max_length counts",
    ):
        assert name in said
    assert all(note.startswith(str(tmp_path / "generation_config.json")) for note in notes)


OLDER = {
    "num_beams": 4,
    "length_penalty": 2.0,
    "early_stopping": True,
    "forced_bos_token_id": 7,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[3], [5, 6]],
    "max_length": 40,
}


def test_what_config_json_says_counts_where_there_is_no_file_of_its_own(tmp_path):
    found = read_generation_config(tmp_path, NONE, OLDER, encoder=True)
    # The token that an output starts from is one of max_length.
    assert found.config == GenerationConfig(temperature=0.0, num_beams=4, length_penalty=2.0, max_new_tokens=39)
    undone = ("early_stopping", "forced_bos_token_id", "no_repeat_ngram_size", "bad_words_ids")
    assert found.kept == {name: OLDER[name] for name in undone}
    assert len(found.notes) == 4
    for name, note in zip(undone, found.notes, strict=True):
        assert note.startswith(f"{tmp_path / 'config.json'}: {name} = ")
    values = generation_values(found.config, {"eos_token_id": 2}, found.kept)
    assert values.pop("max_new_tokens") == 39
    assert {**values, "max_length": 40} == {**OLDER, "eos_token_id": 2, "do_sample": False}


def test_the_file_of_its_own_counts_alone(tmp_path):
    (tmp_path / "generation_config.json").write_text(json.dumps({"decoder_start_token_id": 6}))
    found = read_generation_config(tmp_path, NONE, OLDER, encoder=True)
    assert found == FoundGeneration(GenerationConfig(temperature=0.0), start_id=6)


def test_what_is_of_beams_alone_is_no_matter_without_them_and_kept(tmp_path):
    values = {"early_stopping": True, "length_penalty": 2.0}
    found = read_generation_config(tmp_path, NONE, values)
    assert (found.notes, found.kept) == ((), {"early_stopping": True})
    assert generation_values(found.config, {}, found.kept) == {**values, "do_sample": False}


@pytest.mark.parametrize("values", [{"do_sample": 1}, {"do_sample": True, "top_p": 2.0}, {"max_new_tokens": 0}])
def test_damaged_values_are_errors(tmp_path, values):
    with pytest.raises(DataError, match=r"generation_config\.json: "):
        read(tmp_path, **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_new_tokens": 10**12}, "max_new_tokens is 1000000000000; it must be from 1 to 1,048,576"),
        ({"num_beams": 10**6}, "num_beams is 1000000; it must be from 1 to 1,024"),
        ({"do_sample": True, "temperature": 1e300}, "temperature is 1e\\+300; it must be 0"),
        ({"bad_words_ids": [[1, 2]] * 30_000}, "bad_words_ids has 90,000 entries; it may have at most 65,536"),
        ({"eos_token_id": list(range(2000))}, "end_ids has 2,000 entries; it may have at most 1,024"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_absurd_values_are_errors_that_name_the_bound(tmp_path, values, message):
    with pytest.raises(DataError, match=rf"generation_config\.json: .*{message}"):
        read(tmp_path, **values)


def test_code_of_its_own_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"generation_config\.json has trust_remote_code: .* does not run"):
        read(tmp_path, trust_remote_code=True)
    assert read(tmp_path, trust_remote_code=False, do_sample=True) == read(tmp_path, do_sample=True)


@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig(temperature=0.0, max_new_tokens=7),
        GenerationConfig(temperature=0.5, top_k=4, top_p=0.5, end_ids=(3, 4)),
        GenerationConfig(top_k=0, end_ids=(8,)),
    ],
)
def test_settings_come_back(tmp_path, config):
    values = generation_values(config, {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": None})
    assert read(tmp_path, **values) == (config, [])


def test_end_ids_are_joined_in_order():
    values = generation_values(GenerationConfig(end_ids=(5, 2, 6)), {"eos_token_id": 2})
    assert values["eos_token_id"] == [2, 5, 6]


def test_transformers_reads_what_we_write(tmp_path):
    transformers = pytest.importorskip("transformers")
    values = generation_values(GenerationConfig(temperature=0.5, top_k=4, end_ids=(3,)), {"bos_token_id": 1})
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    config = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (config.do_sample, config.temperature, config.top_k, config.eos_token_id) == (True, 0.5, 4, 3)
