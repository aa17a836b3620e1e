"""`jaxlm data`: its subverbs do their work and say on one line what is wrong."""

import json
import re

import pytest

from jaxlm.cli.data import SUBVERBS
from jaxlm.text.byte import ByteTokenizer


def test_help_lists_the_subverbs(jaxlm):
    code, output, errors = jaxlm("data", "--help")
    assert (code, errors) == (0, "")
    for subverb, text in SUBVERBS.items():
        assert re.search(rf"^  {subverb} +{text}$", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data"], "name what to do: jaxlm data prepare"),
        (["data", "prepar"], "unknown subverb of data 'prepar' (did you mean 'prepare'?)"),
        (["data", "prepare"], "Missing from jaxlm data prepare: OUT"),
        (["data", "prepare", "out", "--fils", "x"], "unknown option --fils (did you mean '--files'?)"),
        (["data", "prepare", "out"], "tokenizer is empty; name the folder of one"),
        (["data", "prepare", "out", "--tokenizer", "none", "--files", "none.txt"], "none"),
    ],
)
def test_misuse_is_one_line(refused, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*words)


def test_prepare_says_what_became_of_the_corpus(jaxlm, tmp_path):
    ByteTokenizer().save(tmp_path / "tokenizer")
    lines = [json.dumps({"text": f"line {number}"}) for number in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "{broken", '{"text": ""}']))
    code, output, _ = jaxlm(
        *("data", "prepare", tmp_path / "out", "--source", "jsonl", "--files", tmp_path / "a.jsonl"),
        *("--tokenizer", tmp_path / "tokenizer", "--workers", 1),
    )
    assert code == 0
    assert output.splitlines()[0] == "read    31 documents, 200 bytes of text"
    assert "dropped 1 documents, 0 bytes: empty" in output
    assert f"{tmp_path / 'a.jsonl'}:31: not a JSON record" in output
    assert "kept    30 documents, 200 bytes of text, 200 tokens (1.00 bytes each) in 1 shards" in output
