import json

import pytest

from jaxlm.cli.main import main
from jaxlm.text.byte import ByteTokenizer


@pytest.fixture
def files(tmp_path):
    train = "text,label\na good film,pos\nA  Good film,neg\nbad,neg\n,pos\n"
    (tmp_path / "train.csv").write_text(train)
    (tmp_path / "dev.csv").write_text("text,label\nBAD,neg\nnew,other\nnew,other\n")
    return ["--train", str(tmp_path / "train.csv"), "--validation", str(tmp_path / "dev.csv")]


def test_what_is_found_is_counted_and_named(files, capsys):
    assert main(["data", "check", "--task", "classification", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    train, validation = found["train"], found["validation"]
    assert train["examples"] == 3
    (count, places), *_ = train["problems"].values()
    assert count == 1
    assert places[0].endswith("train.csv:5")
    assert train["labels"] == {"neg": 2, "pos": 1}
    assert (train["duplicates"], train["conflicts"]) == (1, 1)
    assert (validation["duplicates"], validation["leaked"]) == (1, 1)
    assert validation["leaked_places"][0].endswith("dev.csv:2")
    assert validation["only_here"] == ["other"]


def test_lengths_are_those_of_a_tokenizer(files, tmp_path, capsys):
    ByteTokenizer().save(tmp_path / "bytes")
    options = ["--tokenizer", str(tmp_path / "bytes"), "--max-length", "10", "--json"]
    assert main(["data", "check", "--task", "classification", *files, *options]) == 0
    train = json.loads(capsys.readouterr().out)["train"]
    sizes = sorted(len(ByteTokenizer().encode_for_model(text).ids) for text in ("a good film", "A  Good film", "bad"))
    assert train["tokens"] == [sizes[1], sizes[2], sizes[2]]
    assert train["truncated"] == pytest.approx(2 / 3)
    assert train["unknown"] == 0


def test_words_say_the_same(files, capsys):
    assert main(["data", "check", "--task", "classification", *files]) == 0
    said = capsys.readouterr().out
    for part in ("train: 3 examples", "no text: 1 (", "neg 2 (66.7 %)", "texts that are in the training split: 1 ("):
        assert part in said


def test_columns_and_what_stops_training_are_said(tmp_path, capsys):
    (tmp_path / "train.tsv").write_text("index\tquestion\tsentence\tlabel\n" + "0\twhy?\tso\tx\n" * 6 + "1\tq\ts\t\n")
    files = ["--train", str(tmp_path / "train.tsv"), "--validation", str(tmp_path / "train.tsv")]
    assert main(["data", "check", "--task", "classification", *files]) == 0
    said = capsys.readouterr().out
    for part in (
        "train: 6 examples (text from question, pair from sentence, label from label)",
        "train.tsv: columns not taken: index",
        "no label: 1 (",
        "train.tsv:8: label is empty",
        "more than a tenth of the records is bad: training stops here; name the --encoding, or leave them out by --bad",
        "one class only: there is nothing to learn",
    ):
        assert part in said


def test_questions_without_an_answer_are_counted(tmp_path, capsys):
    lines = [{"question": "who?", "context": "a cat", "answers": answers} for answers in (["a cat"], [])]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = ["--train", str(tmp_path / "qa.jsonl"), "--validation", str(tmp_path / "qa.jsonl")]
    assert main(["data", "check", "--task", "question_answering", *files]) == 0
    said = capsys.readouterr().out
    assert "questions without an answer in their text: 1 (no-answer is on in training)" in said
    assert "answer offset, repaired: 1" in said


def test_half_a_character_is_shown_escaped(tmp_path, refused, jaxlm):
    path = tmp_path / "train.jsonl"
    path.write_text('{"\\ud800x": "a", "\\ud800y": "b"}\n' * 2)
    words = ("data", "check", "--train", path, "--validation", path)
    assert "It has \\ud800x, \\ud800y: name it" in refused(*words, "--task", "classification", code=1)
    path.write_text('{"question": "a", "context": "b c", "answers": ["c"], "id": "\\ud800"}\n')
    code, output, _ = jaxlm(*words)
    assert code == 0
    assert "id holds half a character" in output
