"""Words of any script: signs stay with their letters."""

import pytest

from jaxlm.text.segmentation import plain_words, word_spans

# Each word is between bars; escapes name the signs that matter.
CASES = {
    "hindi": "\u0939\u093f\u0928\u094d\u0926\u0940 |\u092e\u0947\u0902|\u0964",
    "arabic with vowel signs": "\u0643\u0650\u062a\u064e\u0627\u0628\u064c |\u062c\u064e\u0645\u0650\u064a\u0644",
    "persian with a non-joiner": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 |\u0648",
    "hebrew points": "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd|!",
    "thai, a character each": "\u0e14\u0e35|\u0e07|\u0e48".replace("|\u0e48", "\u0e48"),
    "combining accents": "cafe\u0301 |u\u0308ber",
    "a soft hyphen": "co\u00adop",
    "emoji": "\U0001f469\u200d\U0001f4bb|\U0001f44d\U0001f3fd|\u2764\ufe0f|1\ufe0f\u20e3",
    "flags": "\U0001f1e8\U0001f1f3|\U0001f1e9\U0001f1ea",
    "chinese": "\u300a|\u6218|\u56fd|3|\u300b|\u662f|a1",
    "kana with a sound mark": "\u304b\u3099|\u3066",
    "english": "Levi|'|s |24|-|10 |(|a |Manx|)|,|born",
    "a zero-width space divides": "a|\u200b|b",
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_words_and_signs(name):
    words = [word.strip() for word in CASES[name].split("|")]
    text = CASES[name].replace("|", "")
    assert [text[start:end] for start, end in word_spans(text)] == words


def test_plain_words_are_lower_case_and_no_punctuation():
    assert plain_words("The snake_case, (\u6218\u56fd) 24-10!") == [
        "the",
        "snake",
        "case",
        "\u6218",
        "\u56fd",
        "24",
        "10",
    ]
    assert plain_words("\u0939\u093f\u0928\u094d\u0926\u0940\u0964") == ["\u0939\u093f\u0928\u094d\u0926\u0940"]
    assert plain_words("It's A1_B") == plain_words("It's A1_B\u2014") == ["it", "s", "a1", "b"]
