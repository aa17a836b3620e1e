"""Text out: stop texts however the text is cut, streams that add up, characters of several bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.generation.text import StopFilter, encode_prompt, generate_text, stream_text
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.character import CharacterTokenizer

from ..models.small_models import BASE, random_params

BYTES = ByteTokenizer()


def text_before_first_stop(text: str, stops: Sequence[str]) -> str:
    """Character by character: what stood before the first stop text to be complete (the longest, of several)."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - len(max(complete, key=len))]
    return text


SHORT = st.text("ab\n", max_size=12)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


@settings(max_examples=400, derandomize=True)
@given(st.lists(SHORT, max_size=8), STOPS)
def test_text_passes_up_to_the_first_stop_however_it_is_cut(pieces, stops):
    stop_filter = StopFilter(stops)
    passed = [stop_filter.feed(piece) for piece in pieces]
    text = "".join(pieces)
    expected = text_before_first_stop(text, stops)
    assert expected.startswith("".join(passed))  # nothing is taken back
    assert stop_filter.stopped == any(stop in text for stop in stops)
    assert "".join(passed) + stop_filter.finish() == expected


def test_text_is_held_back_only_while_it_may_become_a_stop():
    stop_filter = StopFilter(["\n\nUser:", "END"])
    assert stop_filter.feed("one\n") == "one"
    assert stop_filter.feed("two\n\nUse") == "\ntwo"
    assert stop_filter.feed("less E") == "\n\nUseless "
    assert stop_filter.feed("NDless") == ""
    assert stop_filter.stopped
    assert stop_filter.feed("more") == ""
    assert stop_filter.finish() == ""


class ScriptedGenerator:
    """Stands in for a TokenGenerator: gives the bytes of the texts that it was told to write, `chunk` at a time."""

    config = BASE

    def __init__(self, *texts: str):
        self.texts = [text.encode() for text in texts]
        self.given = 0

    def stream(self, prompts, options, eos_id, chunk) -> Iterator[list[list[int]]]:
        self.prompts = prompts
        for start in range(0, options.max_new_tokens, chunk):
            self.given = min(start + chunk, options.max_new_tokens)
            yield [list(text[start : self.given]) for text in self.texts]


OPTIONS = GenerationConfig(max_new_tokens=60)
TEXTS = ["To be, or not to be: that is the question. END, and more", "naïve 月光 🙂 brave END", "no end to it, no EN"]
EXPECTED = ["To be, or not to be: that is the question. ", "naïve 月光 🙂 brave ", "no end to it, no EN"]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 60])
def test_pieces_add_up_to_the_text_before_the_stop_across_any_border(chunk):
    options = replace(OPTIONS, stop=("END", "question?"))
    pieces = list(stream_text(ScriptedGenerator(*TEXTS), BYTES, ["", "", ""], options, chunk))
    assert ["".join(parts) for parts in zip(*pieces, strict=True)] == EXPECTED
    assert all("�" not in text for piece in pieces for text in piece)
    assert generate_text(ScriptedGenerator(*TEXTS), BYTES, ["", "", ""], options) == EXPECTED


def test_without_stop_texts_everything_passes():
    assert generate_text(ScriptedGenerator(*TEXTS), BYTES, ["", "", ""], OPTIONS) == TEXTS


def test_generation_ends_once_every_text_has_stopped():
    generator = ScriptedGenerator("one. two", "three four. five")
    options = replace(OPTIONS, stop=(".",))
    assert list(stream_text(generator, BYTES, ["", ""], options, 4))[-1] == ["", "ur"]
    assert generator.given == 12


def test_a_character_comes_once_its_last_byte_is_there_and_half_a_one_at_the_end_is_marked():
    pieces = list(stream_text(ScriptedGenerator("月"), BYTES, [""], replace(OPTIONS, max_new_tokens=3), 1))
    assert [piece[0] for piece in pieces] == ["", "", "月", ""]
    pieces = list(stream_text(ScriptedGenerator("月"), BYTES, [""], replace(OPTIONS, max_new_tokens=2), 1))
    assert [piece[0] for piece in pieces] == ["", "", "\ufffd"]


def test_a_prompt_begins_with_the_begin_token_if_there_is_one():
    assert encode_prompt(BYTES, "ab") == [BYTES.bos_id, 97, 98]
    assert encode_prompt(BYTES, "") == [BYTES.bos_id]
    characters = CharacterTokenizer.train(["abc"])
    assert encode_prompt(characters, "cab") == characters.encode("cab")
    with pytest.raises(UsageError, match="the prompt is empty"):
        encode_prompt(characters, "")


def test_an_encoder_reads_a_text_with_what_its_model_expects_around_it():
    generator = ScriptedGenerator("to be")
    generator.config = replace(BASE, architecture="encoder_decoder")
    assert generate_text(generator, BYTES, ["ab"], OPTIONS) == ["to be"]
    assert generator.prompts == [[BYTES.bos_id, 97, 98, BYTES.eos_id]]
    with pytest.raises(UsageError, match="the text is empty"):
        generate_text(generator, CharacterTokenizer.train(["abc"]), [""], OPTIONS)


def test_bad_prompts_are_refused_when_asked_and_not_at_the_first_piece():
    config = replace(BASE, vocab_size=BYTES.vocab_size, max_length=8)
    generator = TokenGenerator(config, random_params(config))
    with pytest.raises(UsageError, match="10 tokens, more than the model's context of 8"):
        stream_text(generator, BYTES, ["123456789"], OPTIONS)


def test_streams_of_a_real_model_add_up_to_its_text():
    config = replace(BASE, vocab_size=BYTES.vocab_size, max_length=16)
    generator = TokenGenerator(config, random_params(config, seed=1))
    prompts, options = ["To be", "月"], GenerationConfig(max_new_tokens=24, seed=3)
    whole = generate_text(generator, BYTES, prompts, options)
    pieces = list(stream_text(generator, BYTES, prompts, options, 5))
    assert ["".join(parts) for parts in zip(*pieces, strict=True)] == whole
    # Random bytes: mostly malformed, each marked.
    assert all(len(text) > 5 for text in whole)
    stop = whole[0][2:4]
    assert (
        generate_text(generator, BYTES, prompts, replace(options, stop=(stop,)))[0] == whole[0][: whole[0].index(stop)]
    )
