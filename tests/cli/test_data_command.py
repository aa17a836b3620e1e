"""`jaxlm data`: its subverbs do their work and say on one line what is wrong."""

import json
import re
import sys

import pytest

from jaxlm.cli.data import SUBVERBS
from jaxlm.data.prepared import prepared_account
from jaxlm.text.byte import ByteTokenizer


def test_help_lists_the_subverbs(jaxlm):
    code, output, errors = jaxlm("data", "--help")
    assert (code, errors) == (0, "")
    for subverb, text in SUBVERBS.items():
        assert re.search(rf"^  {subverb} +{text}$", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data"], "name what to do: jaxlm data tokenizer | prepare | check | show"),
        (["data", "prepar"], "unknown subverb of data 'prepar' (did you mean 'prepare'?)"),
        (["data", "prepare"], "Missing from jaxlm data prepare: OUT"),
        (["data", "prepare", "out", "--fils", "x"], "unknown option --fils (did you mean '--files'?)"),
        (["data", "prepare", "out", "--files", "x"], "tokenizer is empty; name the folder of one"),
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
    # What a run on it keeps of the manifest.
    assert prepared_account(tmp_path / "out") == {
        "read": 31,
        "dropped": {"empty": 1},
        "quarantined": {"not_json": 1},
        "scrubbed": {},
        "kept": 30,
    }


LEARNED = (("sentencepiece", 300, "--tokenizer.byte-fallback", "False"), ("wordpiece", 120), ("bpe", 300))


@pytest.mark.parametrize(("kind", "size", "more"), [(kind, size, more) for kind, size, *more in LEARNED])
def test_tokenizer_learns_measures_and_is_used(jaxlm, refused, tmp_path, kind, size, more):
    lines = [f"the {number} small boats sang of {number % 7} seas and 床前明月光 {number}" for number in range(300)]
    (tmp_path / "a.txt").write_text("\n\n".join(lines))
    words = ["--files", tmp_path / "a.txt", "--tokenizer.kind", kind, *more]
    if kind != "sentencepiece":
        words += ["--tokenizer.vocab-size", size]
    else:
        words += ["--tokenizer.vocab-size", 80]
    for name in ("one", "two"):
        code, output, _ = jaxlm("data", "tokenizer", tmp_path / name, *words)
        assert code == 0
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    measures = json.loads(one["measures.json"])["held_out"]
    assert 5 < measures["documents"] < 40
    assert measures["unknown_rate"] == 0
    assert f"{measures['tokens_per_word']:.3f} tokens a word" in output
    assert "something already" in refused("data", "tokenizer", tmp_path / "one", *words)
    code, output, _ = jaxlm(
        *("data", "prepare", tmp_path / "out", "--files", tmp_path / "a.txt", "--document", "paragraph"),
        *("--tokenizer", tmp_path / "one", "--workers", 1),
    )
    assert (code, "kept    300 documents" in output) == (0, True)


def test_tokenizer_refuses_what_it_cannot_learn(refused, tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    words = ("data", "tokenizer", tmp_path / "out", "--files", tmp_path / "a.txt")
    assert "a tokenizer of kind 'byte' is not learned" in refused(*words, "--tokenizer.kind", "byte")
    assert "held_out is 1.0" in refused(*words, "--held-out", 1)
    assert "sample is 0.0" in refused(*words, "--sample", 0)
    assert "vocab_size 8192 is more than this training text can fill" in refused(*words, "--tokenizer.vocab-size", 8192)
    assert "files is empty" in refused("data", "tokenizer", tmp_path / "out")


def test_prepare_with_beam_names_what_is_missing(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    words = (
        "data",
        "prepare",
        tmp_path / "out",
        "--files",
        "a.txt",
        "--tokenizer",
        "t",
        "--beam=--runner=DirectRunner",
    )
    assert "pip install 'jaxlm[beam]'" in refused(*words)
    assert "--workers are those of this machine" in refused(*words, "--workers", 2)
