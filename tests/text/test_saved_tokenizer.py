import hashlib
import json

import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.text import saved
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.tokenizer import load_tokenizer

GOOD = {"format": "jaxlm-tokenizer", "version": 1, "kind": "character", "characters": "abc"}


def test_the_saved_form_is_stable(tmp_path):
    """Run folders of today must load tomorrow: this text may only change with the version."""
    text = '{\n "format": "jaxlm-tokenizer",\n "kind": "byte",\n "version": 1\n}\n'
    ByteTokenizer().save(tmp_path)
    assert (tmp_path / "jaxlm_tokenizer.json").read_text() == text
    (tmp_path / "jaxlm_tokenizer.json").write_text(json.dumps({**GOOD, "characters": "c\u00e9\U0001f600\n"}))
    assert load_tokenizer(tmp_path).encode("\n\U0001f600c") == [3, 2, 0]


def test_nothing_there(tmp_path):
    with pytest.raises(UsageError, match=f"no tokenizer in {tmp_path}: neither jaxlm_tokenizer.json is there nor"):
        load_tokenizer(tmp_path)
    with pytest.raises(UsageError, match=r"no tokenizer in .*nowhere"):
        load_tokenizer(tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer.json is no tokenizer that can be used"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; save the tokenizer again"),
        (b"{", r"is not valid JSON \(.*\); save the tokenizer again"),
        (b'"\xff"', "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"version": ' + b"1" * 5000 + b"}", "is not valid JSON"),
        (b'{"kind": "byte", "kind": "character"}', "a field appears twice"),
        (b"[1]", r"holds \[1\], not an object with fields"),
        (b" " * ((16 << 20) + 1), "is larger than the 16777216 bytes that a tokenizer file may have"),
    ],
)
def test_damaged_description(content, message, tmp_path):
    path = tmp_path / "jaxlm_tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}:? .*{message}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format is 'other', not 'jaxlm-tokenizer'"),
        ({"format": None}, "format is None, not"),
        ({"version": 2}, "version 2 is newer than the 1 known here; upgrade jaxlm"),
        ({"version": 0}, "version is 0, not a whole number from 1"),
        ({"version": True}, "version is True, not"),
        ({"version": "1"}, "version is '1', not"),
        ({"kind": "charcter"}, r"unknown tokenizer kind 'charcter' \(did you mean 'character'\?\); known: byte, char"),
        ({"kind": 3}, "unknown tokenizer kind 3; known"),
        ({"kind": ["character"]}, r"unknown tokenizer kind \['character'\]; known"),
        ({"kind": "x" * 10_000}, r"unknown tokenizer kind 'x{99}\.\.\.; known"),
        ({"characters": ["a"]}, r"characters is \['a'\], not of type str"),
        ({"characters": None}, "characters is None, not of type str"),
        ({"characters": ""}, "a character vocabulary needs at least one character"),
        ({"characters": "aba"}, r"the character vocabulary holds 'a' \(U\+0061 LATIN SMALL LETTER A\) more than once"),
        ({"characters": "\ud800"}, r"the character vocabulary has the lone surrogate U\+D800 at position 0"),
        ({"charactres": "abc"}, r"unknown field 'charactres' \(did you mean 'characters'\?\)"),
        ({"kind": "byte"}, "unknown field 'characters'"),
        ({"kind": "sentencepiece"}, "unknown field 'characters'"),
    ],
)
def test_invalid_description(changes, message, tmp_path):
    path = tmp_path / "jaxlm_tokenizer.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    with pytest.raises(DataError, match=f"^{path}: {message}"):
        load_tokenizer(tmp_path)


def test_missing_field(tmp_path):
    path = tmp_path / "jaxlm_tokenizer.json"
    path.write_text(json.dumps({name: value for name, value in GOOD.items() if name != "characters"}))
    with pytest.raises(DataError, match=f"^{path}: the field 'characters' is missing"):
        load_tokenizer(tmp_path)


def test_no_regular_file(tmp_path):
    (tmp_path / "jaxlm_tokenizer.json").mkdir()
    with pytest.raises(DataError, match=r"jaxlm_tokenizer.json is missing or not a regular file"):
        load_tokenizer(tmp_path)


def test_damaged_model(tokenizers, tmp_path):
    tokenizers["unigram"].save(tmp_path)
    path = tmp_path / "tokenizer.model"
    model = path.read_bytes()
    path.write_bytes(model[:-1] + b"?")
    with pytest.raises(DataError, match=f"^{path} is not the model that jaxlm_tokenizer.json names: its sha256 is "):
        load_tokenizer(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=f"^{path} is empty"):
        load_tokenizer(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=f"^{path} is missing or not a regular file"):
        load_tokenizer(tmp_path)
    path.write_bytes(b"junk")
    description = json.loads((tmp_path / "jaxlm_tokenizer.json").read_text())
    # Named by its hash, it is checked for what it is.
    description["model_sha256"] = hashlib.sha256(b"junk").hexdigest()
    (tmp_path / "jaxlm_tokenizer.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match=f"^{path}: not a sentencepiece model, or a damaged one"):
        load_tokenizer(tmp_path)


def test_an_interrupted_save_keeps_what_was_there(tokenizers, tmp_path, monkeypatch):
    tokenizers["character"].save(tmp_path)

    def fail(source, target):
        raise OSError("killed")

    monkeypatch.setattr(saved.os, "replace", fail)
    with pytest.raises(OSError, match="killed"):
        ByteTokenizer().save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint() == tokenizers["character"].fingerprint()
