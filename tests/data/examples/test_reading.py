"""Every record becomes an example or a problem with a name, a file and a line."""

import gzip
import json

import pytest

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.reading import read_examples
from jaxlm.errors import DataError, UsageError


@pytest.fixture
def write(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return written


def read(path, kind="classification", split="train", labels=None, **options):
    paths = path if isinstance(path, tuple) else (path,)
    config = ExamplesConfig(train=paths, validation=paths, **options)
    return read_examples(config, kind, split, labels)


def fields(found):
    return [example.fields for example in found.examples]


def reasons(found):
    return [(problem.place.rpartition("/")[2], problem.reason) for problem in found.problems]


def test_columns_are_guessed_by_their_names(write):
    found = read(write("a.csv", 'id,Sentence,label\n1,"one, ""two""",pos\n2,"a\nb",neg\n3,c,pos\n'))
    assert [own["text"] for own in fields(found)] == ['one, "two"', "a\nb", "c"]
    assert [own["label"] for own in fields(found)] == ["pos", "neg", "pos"]
    assert found.columns == {"text": "Sentence", "label": "label"}
    assert [example.place.rpartition(":")[2] for example in found.examples] == ["2", "3", "5"], "lines of the file"


def test_columns_without_names_are_guessed_by_their_content(write):
    path = write("a.tsv", 'a long text\t1\nanother "text"\t0\nand one more\t1\n')
    assert fields(read(path))[1] == {"text": 'another "text"', "pair": None, "label": "0"}
    assert read(path).columns == {"label": "2", "text": "1"}
    swapped = read(write("b.tsv", "x\tfirst of all\ny\tthen this\nx\tand that\n"))
    assert swapped.columns == {"label": "1", "text": "2"}
    named = read(path, text_column="2", label_column="1")
    assert fields(named)[0] == {"text": "1", "pair": None, "label": "a long text"}


def test_pairs_numbers_and_several_labels(write):
    path = write("a.csv", "premise,hypothesis,label\na,b,0.5\nc,,x\n")
    assert fields(read(path)) == [
        {"text": "a", "pair": "b", "label": "0.5"},
        {"text": "c", "pair": None, "label": "x"},
    ]
    numbers = read(path, "regression")
    assert fields(numbers) == [{"text": "a", "pair": "b", "value": 0.5}]
    assert reasons(numbers) == [("a.csv:3", "no_number")]
    several = read(
        write("b.jsonl", '{"text": "a", "labels": ["y", "x"]}\n{"text": "b", "labels": []}\n'), "multi_label"
    )
    assert [own["labels"] for own in fields(several)] == [("x", "y"), ()]
    joined = read(write("c.tsv", "text\tlabels\na\tx|y\n"), "multi_label")
    assert fields(joined)[0]["labels"] == ("x", "y")


def test_bad_rows_are_named_and_the_others_kept(write):
    content = b"text,label\ngood,1\nno label,\n,1\ntoo,many,fields\n\xff\xfe,1\nlast,0\n"
    found = read(write("a.csv", content))
    assert [own["text"] for own in fields(found)] == ["good", "last"]
    expected = ["a.csv:3 no_label", "a.csv:4 no_text", "a.csv:5 fields", "a.csv:6 wrong_encoding"]
    assert sorted(" ".join(own) for own in reasons(found)) == expected
    with pytest.raises(DataError, match=r"a\.csv:\d.*\(4 bad records in all\)"):
        read(write("a.csv", content), bad="refuse")
    latin = read(write("b.csv", "text,label\ncafé,1\n".encode("latin-1")), encoding="latin-1")
    assert fields(latin)[0]["text"] == "café"


def test_labels_that_were_not_learned_are_named(write):
    found = read(write("a.tsv", "text\tlabel\na\tx\nb\tnew\n"), split="validation", labels=("x", "y"))
    assert len(found.examples) == 1
    assert reasons(found) == [("a.tsv:3", "unseen_label")]
    assert "label new is not among" in found.problems[0].problem


def test_missing_columns_and_files_are_misuse(write):
    path = write("a.csv", "text,label\na,1\n")
    with pytest.raises(UsageError, match=r"no column 'txet' \(did you mean 'text'\?\); it has text, label"):
        read(path, text_column="txet")
    with pytest.raises(DataError, match="which column is the label"):
        read(write("b.csv", "text,other\na,1\n"))
    with pytest.raises(DataError, match=r"c\.csv is empty"):
        read(write("c.csv", ""))
    with pytest.raises(UsageError, match="does not exist"):
        read("nowhere.csv")
    with pytest.raises(UsageError, match="does not tell its format"):
        read(write("a.dat", "a\tb\n"))
    with pytest.raises(UsageError, match="holds examples for tagging, not for classification"):
        read(write("a.conll", "a O\n"))
    with pytest.raises(UsageError, match="no encoding"):
        read(path, encoding="klingon")


def test_json_lines(write):
    found = read(write("a.jsonl", '{"text": "a", "label": 1}\n\nno\n[1]\n{"text": "b", "label": "x"}\n'))
    assert [own["label"] for own in fields(found)] == ["1", "x"]
    assert reasons(found) == [("a.jsonl:3", "not_json"), ("a.jsonl:4", "not_json")]


def test_tagged_words(write):
    conll = read(write("a.conll", "EU NNP B-ORG\nrejects VBZ O\n\nWord\n\nPeter\tB-PER\n"), "tagging")
    assert fields(conll) == [
        {"words": ("EU", "rejects"), "tags": ("B-ORG", "O")},
        {"words": ("Peter",), "tags": ("B-PER",)},
    ]
    assert reasons(conll) == [("a.conll:4", "no_tag")]
    lines = [
        "# text = don't go",
        "1-2\tdon't\t_\t_\t_",
        "1\tdo\tdo\tAUX\tVB",
        "2\tn't\tnot\tPART\tRB",
        "2.1\tx\tx\tX\tX",
        "",
    ]
    universal = write("a.conllu", "\n".join(lines))
    assert fields(read(universal, "tagging")) == [{"words": ("do", "n't"), "tags": ("AUX", "PART")}]
    assert fields(read(universal, "tagging", label_column="XPOS"))[0]["tags"] == ("VB", "RB")


def squad(*answers, context="the cat and the dog"):
    given = [{"text": text, "answer_start": start} for text, start in answers]
    return {
        "data": [{"paragraphs": [{"context": context, "qas": [{"id": "q", "question": "who?", "answers": given}]}]}]
    }


def test_answers_are_where_they_are_said_to_be_or_looked_for(write):
    def answers(*given):
        return read(write("a.json", json.dumps(squad(*given))), "question_answering")

    assert fields(answers(("the dog", 12)))[0]["answers"] == (("the dog", 12),)
    moved = answers(("the dog", 3))
    assert fields(moved)[0]["answers"] == (("the dog", 12),)
    assert [(one.reason, one.repaired) for one in moved.problems] == [("answer_offset", True)]
    twice = answers(("the", 3))
    assert twice.examples == []
    assert "stands more than once" in twice.problems[0].problem
    assert "stands nowhere" in answers(("horse", 0)).problems[0].problem
    assert fields(answers())[0]["answers"] == (), "a question without an answer"
    with pytest.raises(DataError, match="not in SQuAD's form"):
        read(write("b.json", "{}"), "question_answering")


def test_sources_and_targets(write, tmp_path):
    path = tmp_path / "a.en.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n\xff\n"))
    aligned = read((str(path), write("a.de", "eins\n\ndrei\n")), "sequence_to_sequence", format="parallel")
    assert fields(aligned) == [{"source": "one", "targets": ("eins",)}]
    assert sorted(reason for _, reason in reasons(aligned)) == ["no_label", "wrong_encoding"]
    with pytest.raises(DataError, match="not aligned"):
        read((str(path), write("b.de", "eins\n")), "sequence_to_sequence", format="parallel")
    several = read(write("a.jsonl", '{"source": ["A.", "B."], "target": ["x", "y"]}\n'), "sequence_to_sequence")
    assert fields(several) == [{"source": "A. B.", "targets": ("x", "y")}]


def test_what_is_held_out_is_decided_by_the_text(write):
    path = write("a.tsv", "text\tlabel\n" + "".join(f"text {number % 50}\tx\n" for number in range(400)))
    config = ExamplesConfig(train=(path,), validation_fraction=0.3)
    train, validation = (read_examples(config, "classification", split) for split in ("train", "validation"))
    assert len(train.examples) + len(validation.examples) == 400
    texts = [{example.fields["text"] for example in own.examples} for own in (train, validation)]
    assert texts[0].isdisjoint(texts[1])
    assert 5 < len(texts[1]) < 25
    assert train.fingerprint != validation.fingerprint
    assert read_examples(config, "classification", "train").fingerprint == train.fingerprint
