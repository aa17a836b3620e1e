"""Each filter drops what its rule says, and only that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.data.preparation.contamination import ContaminationFilter, evaluation_examples
from jaxlm.data.preparation.filters import filters_of
from jaxlm.data.preparation.personal import scrub
from jaxlm.data.preparation.quality import c4, gopher_quality, gopher_repetition
from jaxlm.errors import DataError, UsageError
from jaxlm.text.segmentation import plain_words

GOOD = (
    "The harbour was quiet in the early morning, and two men stood at the end of the pier with their coats buttoned "
    "against a thin rain. They had been waiting since before dawn. Nobody spoke of the boat that should have returned "
    "on Tuesday. A gull landed on the rail beside them, looked at each in turn, and flew off toward the town. When at "
    "last a sail showed beyond the point, the older man took off his hat. It was not the one that they hoped for."
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, None),
        ("The sea and the sky. " * 5, "gopher_length"),
        ("to be of it is a at in " * 10, "gopher_word_length"),
        ("internationalization responsibilities " * 40, "gopher_word_length"),
        (GOOD + " #" * 40, "gopher_hash"),
        (GOOD.replace(" ", "... ", 20), "gopher_ellipsis"),
        ("\n".join("- " + GOOD for _ in range(3)), "gopher_bullets"),
        (GOOD + "\nand so on...\nand so on...", "gopher_ellipsis_lines"),
        (GOOD + " 1234" * 60, "gopher_letters"),
        ("gull boat rain coat pier town sail hat point dawn " * 6, "gopher_stop_words"),
    ],
)
def test_gopher_quality(text, reason):
    verdict = gopher_quality(text)
    assert (verdict and verdict[0]) == reason


def numbered(count: int, start: int = 0) -> str:
    return " ".join(f"word{number}" for number in range(start, start + count))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, None),
        (numbered(500), None),
        ("\n".join([numbered(9), *["same line"] * 6, numbered(9, 50), numbered(9, 90)]), "gopher_repeated_lines"),
        (
            "\n\n".join(["one\ntwo", *(f"{n} {n + 1000}" for n in range(6)), *["one\ntwo"] * 3]),
            "gopher_repeated_lines",
        ),
        (numbered(80) + " the cat" * 20, "gopher_top_2gram"),
        (numbered(60) + " " + numbered(15, 20), "gopher_repeated_5gram"),
        (numbered(28, 300) + " " + numbered(200) + " " + numbered(28, 300), "gopher_repeated_9gram"),
    ],
)
def test_gopher_repetition(text, reason):
    verdict = gopher_repetition(text)
    assert (verdict and verdict[0]) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, None),
        ("床前明月光、疑是地上霜。" * 5, None),
        (GOOD + " Lorem Ipsum dolor", "c4_lorem_ipsum"),
        (GOOD + " function() {", "c4_curly_bracket"),
        ("One. Two. Three. Four at 3.5 and 4.5", "c4_sentences"),
    ],
)
def test_c4(text, reason):
    verdict = c4(text)
    assert (verdict and verdict[0]) == reason


@given(st.text())
def test_no_text_breaks_a_filter(text):
    for judge in (gopher_quality, gopher_repetition, c4, ContaminationFilter([("here", GOOD)])):
        assert judge(text) is None or len(judge(text)) == 2
    assert scrub(scrub(text)[0])[1] == {}


def test_languages(config_of):
    pytest.importorskip("py3langid")
    (judge,) = filters_of(config_of("x", languages=("en", "zh")))
    assert judge(GOOD) is None
    assert judge("这是一个关于大海的故事、讲的是两个等船的人、他们从天亮之前就一直在等。") is None
    reason, detail = judge("Dies ist eine Geschichte über das Meer und zwei Männer, die auf ein Boot warten.")
    assert (reason, detail[:2]) == ("language", "de")
    (certain,) = filters_of(config_of("x", languages=("en", "zh", "sr"), language_confidence=1.0))
    assert certain("ok")[0] in ("language_uncertain", "language")
    with pytest.raises(UsageError, match="languages has 'english'; known: "):
        filters_of(config_of("x", languages=("english",)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jane.doe+news@mail.example.co.uk.", "write to <EMAIL>."),
        ("x@y is none, nor is a@b.c or @name", "x@y is none, nor is a@b.c or @name"),
        ("from 192.168.1.20, port 80", "from <IP>, port 80"),
        ("2001:db8::8a2e:370:7334 and fe80::1", "<IP> and <IP>"),
        ("127.0.0.1 and 0.0.0.0 and 999.1.1.1 and 1.2.3 and 1.2.3.4.5", None),
        ("at 12:30:45 or a::b in C++, std::vector, x::y", None),
        ("pay 4111 1111 1111 1111 now", "pay <CARD> now"),
        ("pay 5500-0055-5555-5559 now", "pay <CARD> now"),
        ("order 4111111111111112 of 1234567890123456 and 0000000000000000", None),
        ("call +1 (415) 555-2671 or 415-555-2671 or (415) 555-2671", "call <PHONE> or <PHONE> or <PHONE>"),
        ("ring +49 30 901820, +8613812345678 or 13812345678", "ring <PHONE>, <PHONE> or <PHONE>"),
        ("in 1914-1918, of 100,000 men; pages 123-456; 2024-11-22; 3.14159265; ISBN 978-3", None),
    ],
)
def test_scrubbing(text, expected):
    scrubbed, counts = scrub(text)
    assert scrubbed == (text if expected is None else expected)
    assert sum(counts.values()) == scrubbed.count("<")


def test_scrubbing_stays_quick_on_hostile_text():
    for text in ("1" * 200_000, "1-" * 100_000, "a." * 100_000 + "@", ":" * 100_000, "+1 " * 60_000, "1.1." * 50_000):
        scrub(text)


def test_contamination_is_a_run_of_13_words(tmp_path):
    words = plain_words(GOOD)
    judge = ContaminationFilter(
        [("set:1", " ".join(words[20:40])), ("set:2", "床前明月光疑是地上霜"), ("set:3", "a b c")]
    )
    assert judge("Unlike. " + " ".join(words[27:40]).upper().replace(" ", ", ")) == ("contaminated", "set:1")
    assert judge("Unlike. " + " ".join(words[28:40]) + " unlike") is None
    assert judge("古诗床前明月光、疑是地上霜。") == ("contaminated", "set:2")
    assert judge("床前明月光、疑是地上雪") is None
    assert judge("a b c") is None  # too short to mean anything


def test_evaluation_sets_are_read_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "q", "choices": ["c", {"text": "d"}], "n": 5}\n\n')
    (tmp_path / "b.txt").write_text("line one\nline two\n")
    found = list(evaluation_examples([tmp_path / "a.jsonl", tmp_path / "b.txt"]))
    assert [text.strip() for _, text in found] == ["q", "c", "d", "line one", "line two"]
    (tmp_path / "a.jsonl").write_text("{broken")
    with pytest.raises(DataError, match=r"a.jsonl: no evaluation set that can be read"):
        list(evaluation_examples([tmp_path / "a.jsonl"]))


def test_wrong_rules_are_refused(config_of):
    with pytest.raises(UsageError, match=r"unknown rule in quality 'gofer'"):
        config_of("x", quality=("gofer",)).validate()
    with pytest.raises(UsageError, match="near_threshold is 0"):
        config_of("x", near_threshold=0).validate()
    assert filters_of(PreparationConfig()) == []
