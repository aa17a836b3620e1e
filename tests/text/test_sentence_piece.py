import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.errors import DataError, UsageError
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.sentence_piece import MODEL_FILE, SentencePieceTokenizer
from jaxlm.text.sentence_piece_training import MAX_SENTENCE_BYTES, split_into_sentences
from jaxlm.text.tokenizer import train_tokenizer

ALGORITHMS = ("unigram", "bpe")


def largest(documents, algorithm="unigram", **options):
    """Returns the tokenizer of the largest vocabulary that the documents can fill, as the error message names it."""
    config = TokenizerConfig("sentencepiece", 100_000, algorithm, **options)
    with pytest.raises(UsageError) as raised:
        train_tokenizer(config, documents)
    size = int(re.search(r"the largest possible with algorithm '\w+' is (\d+)", str(raised.value))[1])
    return train_tokenizer(TokenizerConfig("sentencepiece", size, algorithm, **options), documents)


def pieces(tokenizer):
    return {tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)}


def test_ids_are_fixed(tokenizers):
    for name in ("unigram", "bpe", "chinese"):
        tokenizer = tokenizers[name]
        assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)
        assert tokenizer.encode("\n\n") == [4, 4]
        assert tokenizer.decode([3]) == " \u2047 "
    assert tokenizers["unigram"].vocab_size == tokenizers["bpe"].vocab_size == 400


def test_subwords_are_learned(tokenizers, sonnet, poems):
    for name in ("unigram", "bpe"):
        assert len(tokenizers[name].encode(sonnet)) < 0.6 * len(sonnet)
    assert len(tokenizers["chinese"].encode(poems)) <= len(poems)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_indentation_is_one_token(algorithm, sonnet):
    tokenizer = largest([sonnet.replace("\n", "\n    ")], algorithm)
    assert len(tokenizer.encode("    ")) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_vocabulary_bounds_are_named_and_exact(algorithm, sonnet):
    tokenizer = largest([sonnet], algorithm)
    assert tokenizer.decode(tokenizer.encode(sonnet)) == sonnet
    with pytest.raises(UsageError) as raised:
        train_tokenizer(TokenizerConfig("sentencepiece", 100, algorithm), [sonnet])
    message = (
        r"tokenizer vocab_size 100 is too small; the characters of this training text, the 256 bytes and the special "
        r"ids need (\d+): choose that or more, or lower character_coverage"
    )
    smallest = int(re.fullmatch(message, str(raised.value))[1])
    assert train_tokenizer(TokenizerConfig("sentencepiece", smallest, algorithm), [sonnet]).vocab_size == smallest
    with pytest.raises(UsageError, match="is too small"):
        train_tokenizer(TokenizerConfig("sentencepiece", smallest - 1, algorithm), [sonnet])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_text_is_skipped_in_training(algorithm):
    short = ["a short line here and there"] * 30
    long_line = "zyzzyva " * 1000
    assert len(long_line) > MAX_SENTENCE_BYTES
    # sentencepiece itself leaves such a line out: not one of its letters is learned.
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([*short, long_line]),
        model_writer=model,
        vocab_size=24,
        model_type=algorithm,
        minloglevel=2,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
    )
    assert b"z" not in model.getvalue()
    assert any(b"zyzzyva" in piece for piece in pieces(largest([*short, long_line], algorithm)))
    # Nor is a line left out for a character that sentencepiece reserves.
    for reserved in ("\u2585", "\u2581", "\0"):
        learned = pieces(largest([*short, f"{reserved} zyzzyva zyzzyva\n" * 20], algorithm))
        assert any(b"zyzzyva" in piece for piece in learned)


@given(st.text(st.sampled_from("ab 明😀\t"), max_size=60), st.integers(0, 100), st.integers(1, 60))
def test_parts_of_a_line_are_the_line(text, repeats, stride):
    line = (text * repeats)[: 100 * stride]
    parts = list(split_into_sentences(line))
    assert "".join(parts) == line
    assert all(0 < len(part.encode()) <= MAX_SENTENCE_BYTES for part in parts)


def test_parts_end_before_a_space():
    parts = list(split_into_sentences("word " * 1000))
    assert len(parts) == 5
    assert all(part.startswith(" word") for part in parts[1:])
    # Without a space a word is cut, and nothing lost; a space at the limit is used; a leading one is no cut.
    assert [len(part) for part in split_into_sentences("明" * 2100)] == [1048, 1048, 4]
    assert [len(part) for part in split_into_sentences("a" * 1048 + " b")] == [1048, 2]
    assert [len(part) for part in split_into_sentences(" " + "a" * 1050)] == [1048, 3]
    assert list(split_into_sentences("\n\na\u2585b\n\n c\u2581\n")) == ["a", "b", " c"]


def test_the_mark_of_a_space_is_not_a_space(tokenizers):
    for name in ("unigram", "bpe", "chinese"):
        assert tokenizers[name].encode("\u2581") != tokenizers[name].encode(" ")


def test_a_line_has_the_same_ids_anywhere(tokenizers, sonnet):
    lines = sonnet.splitlines(keepends=True)
    for name in ("unigram", "bpe"):
        encode = tokenizers[name].encode
        assert encode(sonnet * 100) == [token for line in lines for token in encode(line)] * 100


def test_without_bytes_the_unknown_is_unknown(sonnet):
    tokenizer = train_tokenizer(TokenizerConfig("sentencepiece", 100, byte_fallback=False), [sonnet])
    assert tokenizer.decode(tokenizer.encode(sonnet)) == sonnet
    ids = tokenizer.encode("a明月b\u2581\n")
    assert ids.count(tokenizer.unk_id) == 2
    assert tokenizer.decode(ids) == "a \u2047 b \u2047 \n"
    message = "the characters of this training text and the special ids need"
    with pytest.raises(UsageError, match=message):
        train_tokenizer(TokenizerConfig("sentencepiece", 10, byte_fallback=False), [sonnet])


def test_special_names_in_the_training_text_are_text(sonnet):
    for algorithm in ALGORITHMS:
        config = TokenizerConfig("sentencepiece", 300, algorithm)
        tokenizer = train_tokenizer(config, [sonnet, "<s> </s> <unk> <pad> <0x0A>\n" * 50])
        text = "<s> </s><unk>\n<pad><0x0A>"
        ids = tokenizer.encode(text)
        assert not {0, 1, 2, 3} & set(ids)
        assert tokenizer.decode(ids) == text


def test_an_unforeseen_refusal_keeps_its_message(monkeypatch):
    import sentencepiece

    def train(**options):
        raise RuntimeError("INTERNAL: something\n  new")

    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "train", train)
    with pytest.raises(DataError, match="sentencepiece cannot learn from this text: INTERNAL: something new"):
        train_tokenizer(TokenizerConfig("sentencepiece"), ["text"])


def foreign_model(**options):
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["some text"] * 3),
        model_writer=model,
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


OUR_IDS = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "user_defined_symbols": ["\n"]}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: b"junk", "not a sentencepiece model, or a damaged one"),
        (lambda: foreign_model()[:-3], "not a sentencepiece model, or a damaged one"),
        (foreign_model, "a sentencepiece model whose special ids are not those of jaxlm"),
        (lambda: foreign_model(**OUR_IDS), "a sentencepiece model that changes text before encoding it"),
    ],
)
def test_other_models_are_refused(model, message):
    with pytest.raises(DataError, match=f"^{message}"):
        SentencePieceTokenizer(model())


def test_malformed_pieces_are_refused(tokenizers, tmp_path):
    tokenizers["bpe"].save(tmp_path)
    model = (tmp_path / MODEL_FILE).read_bytes()
    assert b"<0x41>" in model
    assert "月".encode() in model
    with pytest.raises(DataError, match="not a sentencepiece model, or a damaged one"):
        SentencePieceTokenizer(model.replace(b"<0x41>", b"<0x4\xff>"))
    with pytest.raises(DataError, match="a sentencepiece model with malformed pieces"):
        SentencePieceTokenizer(model.replace("月".encode(), b"\xff\xff\xff"))


def test_the_saved_model_is_one_that_sentencepiece_loads(tokenizers, tmp_path, sonnet):
    from sentencepiece import SentencePieceProcessor

    tokenizers["bpe"].save(tmp_path)
    theirs = SentencePieceProcessor(model_file=str(tmp_path / MODEL_FILE))
    assert theirs.encode(sonnet) == tokenizers["bpe"].encode(sonnet)
    assert theirs.decode(theirs.encode(sonnet)) == sonnet
