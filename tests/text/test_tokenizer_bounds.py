"""Tokenizer files of strangers: what would take a machine's time or memory is one error, and real patterns pass."""

import base64
import json
import os
import struct

import pytest

from jaxlm.errors import DataError
from jaxlm.text.pattern_bounds import require_bounded_pattern
from jaxlm.text.tokenizer import load_tokenizer

from .small_directories import write_bert

REAL = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll"
    r"|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "bloom": " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+",
    "deepseek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "thousands": r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
    "syllables": r"(?:\p{L}\p{M}*)+|(?<=\d)[,.](?=\d)",
    "intersection": r"[\p{Lu}&&[^\p{Han}]]*[\p{Ll}&&[^\p{Han}]]+",
    "spaces": " {2,}",
}
FOREVER = "several unbounded repetitions"
HOSTILE = {
    **dict.fromkeys(["(a+)+$", "(a|a)*b", "(a|aa)+$", "a*a*b", "(a{1,3})+b", "a{1,3}+b", "(?:a+){9}b"], FOREVER),
    **dict.fromkeys(["((((a*)*)*)*)!", "(?=a*a*b)a", "(a?b?)*c", "(?i)(a+)+c", "(a*+b?)*c"], FOREVER),
    r"(a)\1": "back-references",
    "(?x)a + +b": "a kind of group that is not done here",
    "(?~ab)": "a kind of group that is not done here",
    "a{100000}": "more than 1,000 times",
    "((a{16}){16}){16}{16}": "more than 20,000 characters",
    "(" * 5000: "has 5,000 characters; at most 4,096",
    "(" * 4000: "nested more than 32 deep",
    "[a": "a [ without its ]",
    "(a": "a ( without its )",
    "a)": "a parenthesis too many",
}
WORDS = {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}


def charsmap(text):
    return base64.b64encode(struct.pack("<I", 4) + bytes(4) + text + b"\0").decode()


def write(folder, **parts):
    document = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "model": WORDS}
    (folder / "tokenizer.json").write_text(json.dumps(document | parts))
    return folder


def in_sequence(name, step, times):
    return {"type": "Sequence", name: [step] * times}


def replacing(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


@pytest.mark.parametrize("name", REAL)
def test_patterns_of_real_tokenizers_pass(name):
    require_bounded_pattern(REAL[name], "here")


@pytest.mark.parametrize("pattern", HOSTILE, ids=lambda pattern: pattern[:20])
def test_patterns_that_search_forever_are_refused(pattern):
    with pytest.raises(DataError) as caught:
        require_bounded_pattern(pattern, "here")
    assert HOSTILE[pattern] in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}}, "pre_tokenizer: the pattern .* several"),
        ({"normalizer": replacing({"Regex": "a*a*b"}, "")}, "normalizer: the pattern .* several"),
        ({"decoder": replacing({"Regex": "a*a*b"}, "")}, "decoder: the pattern .* several"),
        (
            {"normalizer": in_sequence("normalizers", replacing({"String": "a"}, "aa"), 20)},
            "normalizer may make a text 4,096 times as long; at most 2,048",
        ),
        ({"decoder": in_sequence("decoders", replacing({"Regex": "a"}, "aa"), 20)}, "decoder may make a text"),
        ({"normalizer": in_sequence("normalizers", {"type": "Prepend", "prepend": "aaa"}, 6)}, "4,096 times"),
        (
            {"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap(b"x" * 5000)}},
            "normalizer may make a text 5,000 times as long",
        ),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}, "precompiled_charsmap is damaged"),
        (
            {"pre_tokenizer": in_sequence("pretokenizers", {"type": "Whitespace"}, 65)},
            "pre_tokenizer has more than 64 steps",
        ),
        (
            {"post_processor": {"type": "TemplateProcessing", "single": [0] * 257}},
            "post_processor.single has 257 pieces; at most 256",
        ),
        ({"model": {"type": "WordPiece", "max_input_chars_per_word": 10**9}}, "max_input_chars_per_word is over 1,000"),
        ({"added_tokens": [{}] * 100_001}, "added_tokens has 100,001 tokens; at most 100,000"),
        ({"added_tokens": [{"content": "a" * 10_001}]}, "one of 10,001 characters; at most 10,000"),
        ({"added_tokens": [{"content": "a" * 10_000}] * 201}, "2,010,000 characters together; at most 2,000,000"),
        ({"normalizer": json.loads("[" * 80 + "]" * 80)}, "nested more than 64 deep"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_hostile_tokenizer_json_is_one_error(tmp_path, parts, message):
    with pytest.raises(DataError, match=f"tokenizer.json.*{message}"):
        load_tokenizer(write(tmp_path, **parts))


def test_a_million_lists_are_refused_before_they_are_made(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b"[" * 4_000_001)
    with pytest.raises(DataError, match="more than the 4,000,000 lists and objects"):
        load_tokenizer(tmp_path)


def test_too_many_tokens_in_the_files_beside_it_are_refused(tmp_path):
    write_bert(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({f"<{n}>": n for n in range(100_001)}))
    with pytest.raises(DataError, match=r"added_tokens.json has 100,001 tokens; at most 100,000"):
        load_tokenizer(tmp_path)
    (tmp_path / "added_tokens.json").unlink()
    many = {"additional_special_tokens": ["a" * 10_000] * 201}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(many))
    with pytest.raises(DataError, match="added tokens have 2,010,000 characters together; at most 2,000,000"):
        load_tokenizer(tmp_path)


def test_many_added_tokens_are_added_at_once(tmp_path):
    # One by one, each of which builds the search for all anew, these take minutes.
    write(tmp_path)
    tokens = {str(n): {"content": f"<{n}>", "special": n % 5000 == 0} for n in range(2, 20_000)}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": tokens}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("<2><19999>a") == [2, 19999, 0]
    assert tokenizer.vocab_size == 20_000


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "added_tokens.json"])
def test_a_pipe_in_a_files_place_does_not_wait(tmp_path, name):
    write_bert(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name} is missing or not a regular file"):
        load_tokenizer(tmp_path)
