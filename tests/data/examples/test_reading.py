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
    config = ExamplesConfig(train=paths, validation=paths, **{"bad": "skip", **options})
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
    with pytest.raises(UsageError, match=r"no column of CoNLL-U.*did you mean 'UPOS'"):
        read(write("b.conllu", "1\ta\n"), "tagging", label_column="UPSO")
    with pytest.raises(UsageError, match="the columns of CoNLL have no names"):
        read(write("b.conll", "a O\n"), "tagging", label_column="ner")
    unannotated = read(write("c.conllu", "1\tdo\tdo\t_\tVB\n\n1\t_\t_\tSYM\t_\n"), "tagging")
    assert reasons(unannotated) == [("c.conllu:1", "no_tag")]
    assert fields(unannotated)[0]["words"] == ("_",)
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


def test_comments_and_documents_are_no_words(write):
    lines = [
        *("-DOCSTART- -X- -X- O", "", "# sent_id = 7", "# text = Ada sees Bern", "Ada NNP B-NP B-PER"),
        *("sees VBZ B-VP O", "Bern NNP B-NP B-LOC", "", "#\tnote [1999-01-02]", "# NN B-NP O", "tag NN I-NP O", ""),
        *("#1 NN B-NP O", "# NN B-NP O", ""),
    ]
    found = read(write("a.conll", "\n".join(lines)), "tagging")
    assert fields(found) == [
        {"words": ("Ada", "sees", "Bern"), "tags": ("B-PER", "O", "B-LOC")},
        {"words": ("#", "tag"), "tags": ("O", "O")},
        {"words": ("#1", "#"), "tags": ("O", "O")},
    ]
    assert not found.problems
    late = read(write("b.conll", "Ada B-PER\n# remark\n"), "tagging")
    assert fields(late) == [{"words": ("Ada", "#"), "tags": ("B-PER", "remark")}], "a word, inside a sentence"


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
    with pytest.raises(DataError, match="nor questions in SQuAD's form"):
        read(write("b.json", "{}"), "question_answering")
    with pytest.raises(DataError, match="not in SQuAD's form: no object with data"):
        read(write("b.json", "{}"), "question_answering", format="squad")


def test_answers_without_a_start_are_looked_for_and_unanswerable_questions_kept(write):
    given = {"id": "a", "question": "who?", "answers": [{"text": "the dog"}]}
    none = {"id": "b", "question": "what?", "answers": [], "is_impossible": True}
    both = {"id": "c", "question": "which?", "answers": [{"text": "the", "answer_start": 0}], "is_impossible": True}
    neither = {"id": "d", "question": "where?", "answers": [], "is_impossible": False}
    twice = {"id": "e", "question": "whose?", "answers": [{"text": "the"}]}
    paragraphs = [{"context": "the cat and the dog", "qas": [given, none, both, neither, twice, "?"]}, {"qas": []}]
    content = json.dumps({"data": [{"paragraphs": paragraphs}, 7]})
    found = read(write("a.json", content.encode("utf-8-sig")), "question_answering")
    assert [(own["id"], own["answers"]) for own in fields(found)] == [("a", (("the dog", 12),)), ("b", ())]
    assert [(one.reason, one.repaired) for one in found.problems] == [
        ("answer_offset", True),
        ("answers", False),
        ("no_label", False),
        ("answer_offset", False),
        ("not_squad", False),
        ("not_squad", False),
        ("not_squad", False),
    ]
    assert found.problems[3].place.endswith("a.json, article 1, paragraph 1, question e")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["the dog"], (("the dog", 12),)),
        ("the dog", (("the dog", 12),)),
        ({"text": ["the"], "answer_start": [12]}, (("the", 12),)),
        ({"text": "the", "answer_start": 12}, (("the", 12),)),
        ([["the", 12.0]], (("the", 12),)),
        ({"text": ["the", "cat"], "answer_start": [12]}, "2 answers and 1 starts"),
        ([{"text": "the", "answer_start": "x"}], "start of an answer is 'x'"),
        ([{"answer_start": 3}], "an answer has no text"),
        ([["the", 1, 2]], "a list of 3"),
        ([[["the"], 1]], "holds a list instead of a text"),
    ],
    ids=str,
)
def test_forms_of_answers(write, answers, expected):
    record = {"question": "who?", "context": "the cat and the dog", "answers": answers}
    found = read(write("a.jsonl", json.dumps(record)), "question_answering")
    if isinstance(expected, str):
        assert expected in found.problems[0].problem
    else:
        assert fields(found)[0]["answers"] == expected


def test_a_json_array_is_read_with_the_lines_of_its_records(write):
    array = '\ufeff[\n {"text": "a", "label": 1},\n\n {"text": "b",\n  "label": 2}, 3\n]\n'
    for name in ("a.json", "a.jsonl"):
        found = read(write(name, array))
        assert [(one.fields["text"], one.place.rpartition(":")[2]) for one in found.examples] == [
            ("a", "2"),
            ("b", "4"),
        ]
        assert reasons(found) == [(f"{name}:5", "not_json")]
    lines = read(write("b.json", '{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n'))
    assert len(lines.examples) == 2, "JSON Lines in the name of JSON"
    assert len(read(write("c.json", '{"data": [{"text": "a", "label": 1}]}')).examples) == 1
    for content, problem in (
        ('[{"text": "a"}\n {"text": "b"}]', r"d\.json:2: not JSON: a comma or \] is missing"),
        ('[{"text": "a"},\n {"text": ]', r"d\.json:2: not JSON"),
        ('{"text": \n "a', r"d\.json:2: not JSON"),
        ('{"text": {"0": "a"}, "label": {"0": 1}}', "orient='records'"),
        (b'["\xff"]', r"d\.json:1: not utf-8"),
    ):
        with pytest.raises(DataError, match=problem):
            read(write("d.json", content))
    twice = read(write("e.jsonl", '{"text": "a", "text": "b", "label": 1}\n'))
    assert "the name 'text' stands twice" in twice.problems[0].problem


def test_columns_are_those_of_all_records(write):
    talks = '{"instruction": "Name a fruit.", "output": "a pear"}\n'
    talks += '{"instruction": "Add.", "input": "2 and 3", "output": "5"}\n{"instruction": "Sing."}\n'
    found = read(write("a.jsonl", talks), "chat")
    assert [own["messages"][0]["content"] for own in fields(found)] == ["Name a fruit.", "Add.\n\n2 and 3"]
    assert reasons(found) == [("a.jsonl:3", "no_conversation")]
    labels = read(write("b.jsonl", '{"text": "a"}\n{"text": "b", "label": "x"}\n'))
    assert reasons(labels) == [("b.jsonl:1", "no_label")]
    assert [own["label"] for own in fields(labels)] == ["x"]


@pytest.mark.parametrize(
    ("header", "pair"),
    [
        ("index\tquestion\tsentence\tlabel", ("question", "sentence")),
        ("label\tSentence1\tSentence2\tid", ("Sentence1", "Sentence2")),
        ("premise\tid\thypothesis\tlabel", ("premise", "hypothesis")),
        ("question\tpassage\tlabel\tid", ("question", "passage")),
    ],
)
def test_names_that_belong_together_are_a_pair(write, header, pair):
    names = header.split("\t")
    found = read(write("a.tsv", f"{header}\n" + "\t".join(f"{name}!" for name in names) + "\n"))
    assert fields(found) == [{"text": f"{pair[0]}!", "pair": f"{pair[1]}!", "label": "label!"}]


def test_columns_that_nothing_is_taken_from_are_said(write):
    found = read(write("a.csv", "id,title,text,label\n1,t,a,x\n"))
    assert found.notes == (f"{found.files[0]}: columns not taken: title",)


def test_a_constant_column_is_no_label(write):
    rows = [f'"{4 * (n % 2)}","{n}","Mon {n} UTC","none","really film {n}"' for n in range(20)]
    found = read(write("a.csv", "\n".join(rows)))
    assert found.columns == {"text": "5", "label": "1"}
    with pytest.raises(DataError, match="columns 2 and 3 could both be the label"):
        read(write("b.tsv", "some words\t0\tx\nmore words\t1\ty\neven more\t1\tx\n"))


def test_columns_of_one_name_are_refused(write):
    with pytest.raises(DataError, match=r"a\.csv:1: columns 1 and 3 have one name, 'text': rename"):
        read(write("a.csv", "text,label,text\na,b,c\n"))
    unnamed = read(write("b.csv", ",text,label,\n0,a,x,\n"))
    assert fields(unnamed) == [{"text": "a", "pair": None, "label": "x"}]


def test_a_first_row_of_unknown_names_is_asked_for(write):
    rows = "".join(f"words {n},{'good' if n % 2 else 'bad'}\n" for n in range(8))
    with pytest.raises(DataError, match=r"a\.csv:1: it is not clear whether tweets, feeling are the names"):
        read(write("a.csv", "tweets,feeling\n" + rows))
    assert len(read(write("b.csv", rows)).examples) == 8
    numbered = "".join(f"{number},{row}" for number, row in enumerate(rows.splitlines(keepends=True)))
    with pytest.raises(DataError, match="say --header yes or --header no"):
        read(write("c.csv", ",tweets,feeling\n" + numbered))
    named = read(write("a.csv", "tweets,feeling\n" + rows), text_column="tweets", label_column="feeling")
    assert len(named.examples) == 8


@pytest.mark.parametrize(
    "kind", ["classification", "sentence_embedding", "multi_label", "regression", "multiple_choice"]
)
def test_lists_and_objects_are_no_texts(write, kind):
    good = {"text": "a", "positive": "b", "label": 0, "choices": ["x", "y"]}
    for name, value in (("text", ["a"]), ("positive", {"a": 1}), ("label", {"a": 1}), ("choices", [["x"], "y"])):
        found = read(write("a.jsonl", "\n".join(map(json.dumps, [good] * 2 + [{**good, name: value}]))), kind)
        taken = {"sentence_embedding": ("text", "positive"), "multiple_choice": ("text", "label", "choices")}
        bad = name in taken.get(kind, ("text", "label"))
        assert len(found.examples) == 3 - bad, (kind, name)
        assert [problem.place.rpartition(":")[2] for problem in found.problems] == ["3"] * bad


def test_numbers_that_are_labels_are_whole_and_missing_ones_are_none(write):
    found = read(
        write("a.jsonl", '{"text": "a", "label": 1.0}\n{"text": "b", "label": NaN}\n{"text": 7, "label": 1}\n')
    )
    assert [(own["text"], own["label"]) for own in fields(found)] == [("a", "1"), ("7", "1")]
    assert reasons(found) == [("a.jsonl:2", "no_label")]


def test_no_agreement_on_a_label_is_no_label(write):
    lines = "sentence1\tsentence2\tgold_label\na\tb\t-\nc\td\tneutral\n"
    found = read(write("a.tsv", lines))
    assert [own["label"] for own in fields(found)] == ["neutral"]
    assert reasons(found) == [("a.tsv:2", "no_label")]


def test_more_than_a_tenth_of_bad_records_stops(write):
    def lines(bad):
        return write("a.csv", b"text,label\n" + b"good,1\n" * (30 - bad) + b"\xe9,1\n" * bad)

    assert len(read(lines(3), bad="few").problems) == 3
    with pytest.raises(
        DataError,
        match=r"a\.csv: 4 of 30 records are bad, more than a tenth; the first of 4 bad records: \S*a\.csv:28: not utf-8"
        r".*Name their encoding by --encoding, or leave them out by --bad skip",
    ):
        read(lines(4), bad="few")
    assert read(lines(4), bad="skip").too_many_bad


def test_a_mark_decides_how_characters_are_encoded(write):
    text = "text,label\ngüt,pos\n悪い,neg\n"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"):
        marked = encoding in ("utf-16", "utf-32", "utf-8-sig")
        found = read(write("a.csv", text.encode(encoding)), encoding="utf-8" if marked else encoding)
        assert [own["text"] for own in fields(found)] == ["güt", "悪い"], encoding
        assert any("begins with its mark" in note for note in found.notes) == (encoding in ("utf-16", "utf-32"))
    assert len(read(write("a.csv", text.encode("utf-16")), encoding="utf-16").examples) == 2
    with pytest.raises(DataError, match=r"looks like UTF-16.*--encoding utf-16"):
        read(write("a.csv", "text,label\ngut,pos\n".encode("utf-16-le")))
    half = read(write("b.tsv", "text\tlabel\na\tx\n".encode("utf-16-le") + b"\x00\xd8\n\x00"), encoding="utf-16-le")
    assert reasons(half) == [("b.tsv:3", "wrong_encoding")]
    with pytest.raises(UsageError, match="whose lines cannot be told apart"):
        read(write("b.tsv", "a"), encoding="punycode")


def test_lines_may_end_as_on_old_macintoshes(write):
    assert len(read(write("a.csv", "text,label\rone,1\rtwo,2\r")).examples) == 2


def test_damaged_compression_is_named(write):
    content = bytearray(gzip.compress(b"text,label\n" + bytes(range(32, 127)) * 50))
    content[40:60] = b"\xff" * 20
    with pytest.raises(DataError, match=r"a\.csv\.gz: cannot be read"):
        read(write("a.csv.gz", bytes(content)))


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
