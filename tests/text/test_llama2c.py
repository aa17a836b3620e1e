"""llama2.c's tokenizer files against a transcription of its own algorithm."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import DataError, UsageError
from jaxlm.text.llama2c import load_llama2c_tokenizer
from jaxlm.text.tokenizer import load_tokenizer

LEARNED = [" t", "he", " the", "in", "ing", " a", "th", " th", "an", "and", " and", "aa", "aaa", "\u00e9t", "nn", "  "]
CHARACTERS = [*" abcdefghijklmnopqrstuvwxyz.,\n", "\u00e9"]
TOKENS = [
    *("<unk>", "\n<s>\n", "\n</s>\n"),
    *(f"<0x{value:02X}>" for value in range(256)),
    *LEARNED,
    *CHARACTERS,
]
SCORES = [0.0] * 259 + [-float(number) for number in range(len(TOKENS) - 259)]


def file_of(tokens=TOKENS, scores=SCORES) -> bytes:
    entries = zip(scores, [token.encode() for token in tokens], strict=True)
    return struct.pack("<i", 9) + b"".join(struct.pack("<fi", score, len(t)) + t for score, t in entries)


def encode_as_run_c(text: str) -> list[int]:
    """Transcribes `encode` of karpathy/llama2.c's run.c, with the begin id and without the end."""
    number = {token: index for index, token in enumerate(TOKENS)}
    ids = [1]
    if text:
        ids.append(number[" "])
    for character in text:
        if character in number:
            ids.append(number[character])
        else:
            ids += [byte + 3 for byte in character.encode()]
    while True:
        best_score, best_id, best_index = -1e10, -1, -1
        for index in range(len(ids) - 1):
            joined = number.get(TOKENS[ids[index]] + TOKENS[ids[index + 1]], -1)
            if joined >= 0 and SCORES[joined] > best_score:
                best_score, best_id, best_index = SCORES[joined], joined, index
        if best_index < 0:
            return ids
        ids[best_index : best_index + 2] = [best_id]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama2c") / "tok.bin"
    path.write_bytes(file_of())
    return load_llama2c_tokenizer(path)


TEXTS = st.text(st.sampled_from([*"thean  ingaa.\u00e9", "\u6708", "\n", "<", "s", ">", "0", "x"]), max_size=30)


@given(text=TEXTS)
@settings(max_examples=300)
def test_ids_are_those_of_run_c(tokenizer, text):
    assert tokenizer.encode_prompt(text) == encode_as_run_c(text)
    assert tokenizer.decode(tokenizer.encode_prompt(text)) == text


def test_names_of_special_tokens_and_bytes_are_text(tokenizer):
    for text in ("<s>", "</s> <unk>", "<0x41>"):
        assert tokenizer.encode_prompt(text) == encode_as_run_c(text)
        assert len(tokenizer.encode(text)) > 3


def test_special_ids(tokenizer):
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2, None)
    assert tokenizer.encode_for_model("the").ids == (1, TOKENS.index(" the"))
    assert tokenizer.vocab_size == len(TOKENS)


def test_exports_a_tokenizer_json(tokenizer, tmp_path):
    for name, content in tokenizer.export_files().items():
        (tmp_path / name).write_bytes(content)
    loaded = load_tokenizer(tmp_path)
    for text in ("the thing and \u6708\n", ""):
        assert loaded.encode_prompt(text) == encode_as_run_c(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0", "is cut short"),
        (file_of()[:-1], "is cut short in token"),
        (file_of()[:102], "is cut short in token"),
        (file_of(TOKENS[:200], SCORES[:200]), "has 200 tokens, fewer than"),
        (struct.pack("<ifi", 9, 0.0, -5), "has the length -5"),
        (struct.pack("<ifi", 9, 0.0, 1 << 30), "not llama2.c's format"),
        (file_of([*TOKENS[1:], "?"]), "first 259 tokens are not"),
        (file_of([*TOKENS[:-1], TOKENS[-2]]), "is there twice"),
        (struct.pack("<ifi", 9, 0.0, 1) + b"\xff", "is not UTF-8"),
    ],
    ids=["tiny", "last byte", "early", "few tokens", "negative", "huge", "other specials", "twice", "not text"],
)
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "tok.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_llama2c_tokenizer(path)


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"no llama2.c tokenizer at .*tok.bin"):
        load_llama2c_tokenizer(tmp_path / "tok.bin")
