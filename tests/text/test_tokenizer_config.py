import subprocess
import sys

import pytest

from jaxlm.errors import UsageError
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer


@pytest.mark.parametrize(
    "config",
    [
        TokenizerConfig(),
        TokenizerConfig(kind="byte"),
        TokenizerConfig(kind="sentencepiece"),
        TokenizerConfig("sentencepiece", 4_000_000, "bpe", 1, False),
        TokenizerConfig("sentencepiece", character_coverage=0.98),
        TokenizerConfig("wordpiece", vocab_size=5000, character_coverage=1, lowercase=False),
        TokenizerConfig("bpe", vocab_size=5000, special_tokens=("[MASK]",)),
    ],
)
def test_valid(config):
    config.validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "sentencepeice"}, r"unknown tokenizer kind 'sentencepeice' \(did you mean 'sentencepiece'\?\)"),
        (
            {"kind": None},
            "unknown tokenizer kind 'None'; known: bpe, byte, character, folder, sentencepiece, wordpiece",
        ),
        ({"algorithm": "bpee"}, r"unknown sentencepiece algorithm 'bpee' \(did you mean 'bpe'\?\)"),
        ({"vocab_size": 0}, "tokenizer vocab_size is 0; it must be a whole number from 1 to 4000000"),
        ({"vocab_size": 4_000_001}, "tokenizer vocab_size is 4000001;"),
        ({"vocab_size": 300.0}, "tokenizer vocab_size is 300.0;"),
        ({"vocab_size": True}, "tokenizer vocab_size is True;"),
        ({"character_coverage": 0.9}, "tokenizer character_coverage is 0.9; it must be a number from 0.98 to 1"),
        ({"character_coverage": 1.1}, "tokenizer character_coverage is 1.1;"),
        ({"character_coverage": float("nan")}, "tokenizer character_coverage is nan;"),
        ({"character_coverage": "1"}, "tokenizer character_coverage is '1';"),
        ({"byte_fallback": 1}, "tokenizer byte_fallback is 1; it must be True or False"),
    ],
)
def test_invalid(changes, message):
    with pytest.raises(UsageError, match=message):
        TokenizerConfig(**{"kind": "sentencepiece", **changes}).validate()


@pytest.mark.parametrize("kind", ["character", "byte"])
@pytest.mark.parametrize(
    "changes", [{"vocab_size": 100}, {"algorithm": "bpe"}, {"character_coverage": 1.0}, {"byte_fallback": False}]
)
def test_what_would_be_ignored_is_refused(kind, changes):
    [(name, value)] = changes.items()
    with pytest.raises(UsageError, match=f"tokenizer {name}={value!r} has no effect on kind '{kind}'"):
        TokenizerConfig(kind=kind, **changes).validate()


def test_a_folder_is_named_and_nothing_else():
    TokenizerConfig("folder", folder="here").validate()
    for config, message in (
        (TokenizerConfig("folder"), "tokenizer folder is empty"),
        (TokenizerConfig("folder", vocab_size=5, folder="here"), "tokenizer vocab_size=5 has no effect on kind"),
        (TokenizerConfig("folder", special_tokens=("[CLS]",), folder="here"), "tokenizer special_tokens belong to"),
        (TokenizerConfig("byte", folder="here"), "tokenizer folder='here' has no effect on kind 'byte'; remove it, or"),
        (TokenizerConfig("bpe", byte_fallback=False), "tokenizer byte_fallback=False has no effect on kind 'bpe'"),
        (TokenizerConfig("bpe", character_coverage=1.0), "remove it, or choose kind 'sentencepiece' or 'wordpiece'"),
        (TokenizerConfig("wordpiece", lowercase=1), "tokenizer lowercase"),
        (TokenizerConfig("sentencepiece", folder="here"), "tokenizer folder='here' has no effect on kind 'sentence"),
    ):
        with pytest.raises(UsageError, match=message):
            config.validate()


def test_the_tokenizer_of_a_folder_is_taken(tmp_path):
    own = train_tokenizer(TokenizerConfig("character"), ["abc"])
    own.save(tmp_path)
    assert train_tokenizer(TokenizerConfig("folder", folder=str(tmp_path)), []).fingerprint() == own.fingerprint()
    with pytest.raises(UsageError, match="none"):
        train_tokenizer(TokenizerConfig("folder", folder=str(tmp_path / "none")), [])


def test_imports_stay_light():
    code = "import sys, jaxlm.text.config; assert not {'numpy', 'jax', 'sentencepiece'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, jaxlm.text.tokenizer; assert not {'jax', 'flax', 'sentencepiece'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
