import json

import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import CODE, ConfigReader, read_config_file


def reader(**values):
    return ConfigReader(values, "config.json")


def test_fields_are_taken_by_type():
    config = reader(a=3, b=2, c=True, d="x", e=[1], f=None)
    assert config.get("a", int) == 3
    assert type(config.get("b", float)) is float
    assert config.get("c", bool) is True
    assert config.get("d", str) == "x"
    assert config.get("e", list) == [1]
    assert config.get("f", int, 5) == 5
    assert config.get("f", int, 5, null=None) is None
    assert config.get("missing", int, 7, null=None) == 7
    config.finish()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("3", int),
        (True, int),
        (3.0, int),
        (1, bool),
        (2**60, float),
        ({}, list),
        (float, str),
        (float("nan"), float),
        (float("inf"), float),
    ],
)
def test_another_type_is_an_error(value, kind):
    with pytest.raises(DataError, match=r"config\.json: a is .*; it must be "):
        reader(a=value).get("a", kind)


def test_a_field_that_must_be_there():
    for values in ({}, {"a": None}):
        with pytest.raises(DataError, match="lacks the field 'a'"):
            reader(**values).get("a", int)


def test_expect_takes_what_is_supported_only():
    assert reader().expect("a", True) is True
    assert reader(a=None).expect("a", 1.0) == 1.0
    assert reader(a=2).expect("a", 1, 2) == 2
    with pytest.raises(UsageError, match="a is 1, which is not supported; only True is"):
        reader(a=1).expect("a", True)
    with pytest.raises(UsageError, match="only its absence is"):
        reader(a=1).expect("a")


def test_choose_lists_the_choices():
    assert reader().choose("a", {"x": 1, "y": 2}, "y") == 2
    with pytest.raises(UsageError, match="a 'z' is not supported; known: x, y"):
        reader(a="z").choose("a", {"x": 1, "y": 2}, "y")


def test_what_nobody_took_is_an_error_with_all_names():
    config = reader(
        known=1, alpha=2.0, beta=False, gamma=None, transformers_version="4.0", num_beams=4, is_decoder=False
    )
    config.get("known", int)
    with pytest.raises(UsageError, match=r"alpha = 2\.0, beta = False;"):
        config.finish()
    config.ignore("alpha", "beta")
    config.finish()


@pytest.mark.parametrize(
    ("name", "value"), [("is_decoder", True), ("add_cross_attention", True), ("pruned_heads", {"0": [1]})]
)
def test_fields_of_all_models_that_change_the_maths_are_not_harmless(name, value):
    config = reader(**{name: value})
    with pytest.raises(UsageError, match=name):
        config.finish()
    config = reader(**{name: value})
    config.expect(name, value)
    config.finish()


@pytest.mark.parametrize(
    "values",
    [
        {"_model_name_or_path": "Some model 8k", "unk_token_id": 0, "mask_token_id": 4, "image_token_id": 9},
        {"_is_quantized": False, "attn_implementation": "sdpa", "torch_dtype": "bfloat16", "use_cache": True},
        {"transformers.js_config": {"dtype": "q4"}, "is_llama_config": True, "rope_interleaved": False},
        {"max_sequence_length": 2048, "custom_pipelines": {"text-generation": {"impl": "own.Pipeline"}}},
        {"unsloth_version": "2024.9", "unsloth_fixed": True, "unsloth_training_statistics": {"steps": 3}},
        {"task_specific_params": {"summarization": {"num_beams": 4}}, "_attn_implementation_autoset": True},
    ],
)
def test_bookkeeping_is_no_reason_to_refuse(values):
    reader(**values).finish()


@pytest.mark.parametrize("values", [{"_heads": 3}, {"rope_interleaved": True}, {"gate_token_id": 0.5}])
def test_what_looks_like_bookkeeping_and_may_change_the_maths_is_refused(values):
    with pytest.raises(UsageError, match=next(iter(values))):
        reader(**values).finish()


@pytest.mark.parametrize("name", ["auto_map", "trust_remote_code"])
def test_a_model_with_its_own_code_is_refused(name):
    values = {name: {"AutoModel": "evil.Model"}}
    for refuse in (ConfigReader.finish, ConfigReader.refuse_code):
        with pytest.raises(UsageError, match=f"{name}.*does not run"):
            refuse(reader(**values))
        refuse(reader(**{name: None}))
        refuse(reader(**{name: {}}))
    known = reader(**values)
    known.ignore(*CODE)
    known.finish()


def test_labels():
    assert reader().labels() == ("LABEL_0", "LABEL_1")
    assert reader(num_labels=1).labels() == ("LABEL_0",)
    assert reader(id2label={"1": "b", "0": "a"}).labels() == ("a", "b")
    for count in (0, 10**9):
        with pytest.raises(DataError, match="num_labels"):
            reader(num_labels=count).labels()
    for wrong in ({"1": "a"}, {"0": 3}, {"00": "a"}):
        with pytest.raises(DataError, match="id2label"):
            reader(id2label=wrong).labels()


def test_token_ids():
    config = reader(bos_token_id=1, eos_token_id=[2, 3], pad_token_id=None)
    assert [config.token_id(f"{name}_token_id") for name in ("bos", "eos", "pad")] == [1, [2, 3], None]
    for wrong in ("2", [1.5], True, -2):
        with pytest.raises(DataError, match="eos_token_id"):
            reader(eos_token_id=wrong).token_id("eos_token_id")


def test_the_file_is_read_with_care(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        read_config_file(tmp_path / "none")
    with pytest.raises(UsageError, match=r"has no config\.json"):
        read_config_file(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gpt2"}))
    assert read_config_file(tmp_path).get("model_type", str) == "gpt2"
    for content, message in ((b"{", "not valid JSON"), (b"[]", "object, not list"), (b"\xff", "not valid JSON")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_config_file(tmp_path)
    with path.open("wb") as file:
        file.truncate((1 << 24) + 1)
    with pytest.raises(DataError, match="16,777,216"):
        read_config_file(tmp_path)
