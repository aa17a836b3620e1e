"""Tokenizers of Hugging Face directories against the libraries that are their reference, and what is refused."""

import hashlib
import json
import pickle
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import DataError, UsageError
from jaxlm.text.stream import StreamDecoder
from jaxlm.text.tokenizer import has_tokenizer, load_tokenizer

from .small_directories import (
    TEXTS,
    WRITERS,
    train_pieces,
    write_bert,
    write_gpt2,
    write_llama3,
    write_roberta,
    write_t5,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("directories")
    return {name: write(root / name) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: load_tokenizer(folder) for name, folder in folders.items()}


@pytest.fixture
def copy(folders, tmp_path):
    """Copies a small directory, to be changed."""

    def copied(name):
        return shutil.copytree(folders[name], tmp_path / name)

    return copied


def change(folder, **values):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


SPECIALS = {
    "bert": (None, None, 0, 1, 2, 3, 4),
    "gpt2": (330, 330, None, 330, None, None, None),
    "roberta": (0, 2, 1, 3, 0, 2, 330),
    "llama3": (330, 331, None, None, None, None, None),
    "llama": (1, 2, None, 0, None, None, None),
    "xlnet": (1, 2, 5, 0, 3, 4, 6),
}


@pytest.mark.parametrize("name", SPECIALS)
def test_special_ids(loaded, name):
    names = ("bos", "eos", "pad", "unk", "cls", "sep", "mask")
    assert tuple(getattr(loaded[name], f"{special}_id") for special in names) == SPECIALS[name]


def test_t5_sentinels_count_down_from_the_end(loaded):
    t5 = loaded["t5"]
    assert t5.token_id("<extra_id_0>") == t5.vocab_size - 1
    assert t5.encode("<extra_id_0> summer")[0] == t5.vocab_size - 1
    assert t5.token_id("<extra_id_99>") == t5.vocab_size - 100
    assert (t5.pad_id, t5.eos_id, t5.unk_id) == (0, 1, 2)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_everything_survives_saving(loaded, folders, tmp_path, name):
    tokenizer = loaded[name]
    tokenizer.save(tmp_path)
    restored = load_tokenizer(tmp_path)
    assert (tmp_path / "jaxlm_tokenizer.json").exists()
    assert restored.fingerprint() == tokenizer.fingerprint()
    unpickled = pickle.loads(pickle.dumps(tokenizer))
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert restored.encode(text) == unpickled.encode(text) == ids
        assert restored.decode(ids) == tokenizer.decode(ids)
        assert restored.encode_for_model(text, "two") == tokenizer.encode_for_model(text, "two")
    originals = {path.name: path.read_bytes() for path in folders[name].iterdir()}
    assert restored.export_files() == originals


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_many_are_each(loaded, name):
    assert loaded[name].encode_many(TEXTS) == [loaded[name].encode(text) for text in TEXTS]
    assert loaded[name].encode_many([]) == []


@pytest.mark.parametrize("name", sorted(WRITERS))
@given(data=st.data())
@settings(max_examples=40)
def test_streams_add_up_to_the_text(loaded, name, data):
    """For any ids, so also what an untrained model makes up."""
    tokenizer = loaded[name]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    if data.draw(st.booleans()):
        ids += tokenizer.encode(data.draw(st.text(st.sampled_from("the \u6708\n\u2581<s>"), max_size=8)))
    decoder = StreamDecoder(tokenizer)
    assert "".join([*(decoder.feed([token]) for token in ids), decoder.finish()]) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", ["gpt2", "llama", "llama3"])
def test_streams_do_not_hold_back_words(loaded, name):
    tokenizer = loaded[name]
    decoder = StreamDecoder(tokenizer)
    shown = ""
    for token in tokenizer.encode("shall I compare thee"):
        piece = decoder.feed([token])
        assert piece
        shown += piece
    assert shown == "shall I compare thee"


def test_clean_up_waits_for_the_end(copy):
    folder = copy("bert")
    change(folder, clean_up_tokenization_spaces=True)
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode("don't thee")
    assert tokenizer.decode(ids) == "don't thee"
    decoder = StreamDecoder(tokenizer)
    assert decoder.feed(ids) == ""
    assert decoder.finish() == "don't thee"


@pytest.mark.parametrize("name", ["bert", "gpt2", "roberta", "llama3"])
def test_ids_are_those_of_the_rust_library(loaded, name):
    """With a second text and cut to a length, where the library's own truncation is the reference."""
    tokenizer = loaded[name]
    rust = tokenizer.rust
    for text in TEXTS:
        for pair in (None, "thee, 3"):
            for length in (None, 6, 9):
                if length is None:
                    rust.no_truncation()
                else:
                    rust.enable_truncation(length)
                expected = rust.encode(text, pair)
                rust.no_truncation()
                encoding = tokenizer.encode_for_model(text, pair, length)
                assert list(encoding.ids) == expected.ids
                assert list(encoding.token_type_ids) == expected.type_ids
                assert list(encoding.offsets) == expected.offsets
                whole = len(tokenizer.encode_for_model(text, pair).ids)
                assert encoding.truncated == whole - len(encoding.ids)


def test_a_json_that_truncates_and_pads_does_neither(loaded):
    encoding = loaded["llama3"].encode_for_model("shall I compare thee to a summer's day? Thou art more lovely")
    assert len(encoding.ids) > 9
    assert encoding.truncated == 0
    assert len(loaded["llama3"].encode("a")) == 1


@pytest.mark.parametrize("name", ["llama", "t5", "xlnet"])
def test_ids_are_those_of_sentencepiece(loaded, folders, name):
    from sentencepiece import SentencePieceProcessor

    file = folders[name] / ("tokenizer.model" if name == "llama" else "spiece.model")
    processor = SentencePieceProcessor(model_file=str(file))
    plain = [
        "shall I compare",
        "  two  spaces ",
        "caf\u00e9\n\n\u5e8a\u524d \U0001f469",
        " leading",
        "a\u2581b",
        "1,050",
    ]
    for text in [*plain, ""] if name != "xlnet" else plain[:1]:
        assert loaded[name].encode(text) == processor.encode(text)
        assert loaded[name].decode(processor.encode(text)) == processor.decode(processor.encode(text)) or name == "t5"


def test_llama_gives_a_space_to_the_beginning_alone(loaded, copy):
    tokenizer = loaded["llama"]
    assert tokenizer.encode("thee</s>thee") == [*tokenizer.encode("thee"), 2, *tokenizer.encode("x</s>thee")[3:]]
    assert tokenizer.decode(tokenizer.encode("thee</s>thee")) == "theethee"
    folder = copy("llama")
    change(folder, legacy=True)
    legacy = load_tokenizer(folder)
    assert legacy.encode("thee</s>thee") == [*legacy.encode("thee"), 2, *legacy.encode("thee")]
    assert legacy.encode("x</s>thee") != tokenizer.encode("x</s>thee")


def test_xlnet_splits_commas_after_digits(loaded):
    """Not by pieces that were learned with a comma, which its own preparation takes apart."""
    tokenizer = loaded["xlnet"]
    names = [tokenizer.token_name(token) for token in tokenizer.encode("1,050 and 3,14")]
    assert not [name for name in names if name[-1] == "," and name[:-1].strip("\u2581")]
    assert tokenizer.encode("caf\u00e9 ``a''") == tokenizer.encode('cafe "a"')
    assert tokenizer.encode_for_model("thee").ids[-2:] == (tokenizer.sep_id, tokenizer.cls_id)
    assert tokenizer.encode_for_model("thee", "thou").token_type_ids[-2:] == (1, 2)
    assert tokenizer.padding_side == "left"


def test_marian_has_two_languages(loaded):
    source = loaded["marian"]
    target = source.for_targets()
    assert target.vocab_size == source.vocab_size
    text = "\u5e8a\u524d\u660e\u6708\u5149"
    assert source.unk_id in source.encode(text)
    assert source.unk_id not in target.encode(text)
    assert source.decode(target.encode(text)) == text
    assert source.encode(">>fra<< thee")[0] == source.token_id(">>fra<<")
    assert pickle.loads(pickle.dumps(target)).encode(text) == target.encode(text)
    assert loaded["bert"].for_targets() is loaded["bert"]


def test_prompts_begin_as_the_model_expects(loaded):
    assert loaded["gpt2"].encode_prompt("thee") == loaded["gpt2"].encode("thee")
    assert loaded["gpt2"].encode_prompt("") == [330]
    for name, begin in (("llama", "<s>"), ("llama3", "<|begin_of_text|>")):
        tokenizer = loaded[name]
        assert tokenizer.encode_prompt("thee") == [tokenizer.bos_id, *tokenizer.encode("thee")]
        # A chat template writes the begin token itself.
        assert tokenizer.encode_prompt(f"{begin}thee") == tokenizer.encode(f"{begin}thee")
        assert tokenizer.encode_prompt("") == [tokenizer.bos_id]
    assert loaded["t5"].encode_prompt("thee") == loaded["t5"].encode("thee")


def test_begin_and_end_by_the_settings(copy):
    for name in ("llama", "llama3", "gpt2"):
        folder = copy(name)
        change(folder, add_bos_token=True, add_eos_token=True)
        tokenizer = load_tokenizer(folder)
        ids = tokenizer.encode_for_model("thee").ids
        assert (ids[0], ids[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
        change(folder, add_bos_token=False, add_eos_token=False)
        assert list(load_tokenizer(folder).encode_for_model("thee").ids) == tokenizer.encode("thee")


def test_settings_of_lower_case_and_chinese(tmp_path):
    text = "Caf\u00e9 \u660e\u6708"
    plain = load_tokenizer(write_bert(tmp_path / "a"))
    assert plain.encode(text) == plain.encode("cafe \u660e \u6708")
    kept = load_tokenizer(write_bert(tmp_path / "b", do_lower_case=False, tokenize_chinese_chars=False))
    assert kept.encode("\u660e\u6708") != kept.encode("\u660e \u6708")
    assert kept.encode("Rough") != kept.encode("rough")
    accents = load_tokenizer(write_bert(tmp_path / "c", strip_accents=False))
    assert accents.encode("caf\u00e9") != accents.encode("cafe")


def test_added_tokens_have_their_numbers(tmp_path):
    decoder = {"330": {"content": "<|endoftext|>", "special": True}, "331": {"content": "<tool>", "special": False}}
    folder = write_gpt2(tmp_path / "new", added_tokens_decoder=decoder, pad_token="<|pad|>")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.encode("thee<tool><|pad|>")[-2:] == [331, 332]
    assert (tokenizer.pad_id, tokenizer.vocab_size) == (332, 333)
    assert tokenizer.decode([331, 332, 330]) == "<tool>"
    folder = write_gpt2(tmp_path / "old")
    (folder / "added_tokens.json").write_text('{"<tool>": 331}')
    (folder / "special_tokens_map.json").write_text('{"pad_token": {"content": "<tool>"}}')
    assert load_tokenizer(folder).pad_id == 331
    folder = write_gpt2(tmp_path / "wrong", added_tokens_decoder={"400": {"content": "<tool>"}})
    with pytest.raises(DataError, match=r"wrong: tokenizer_config.json gives the id 400 to '<tool>', .* under 331"):
        load_tokenizer(folder)
    pieces = write_t5(tmp_path / "t5", added_tokens_decoder={"5": {"content": "</s>"}})
    with pytest.raises(DataError, match="gives the id 5 to '</s>', which the vocabulary has under 1"):
        load_tokenizer(pieces)


def test_the_model_type_stands_in_for_the_class(tmp_path):
    folder = write_roberta(tmp_path / "r")
    (folder / "tokenizer_config.json").unlink()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    assert load_tokenizer(folder).family.name == "gpt2"
    (folder / "config.json").unlink()
    assert load_tokenizer(folder).family.name == "roberta"


def test_lengths(folders, copy):
    assert load_tokenizer(folders["llama3"]).max_length == 131072
    folder = copy("gpt2")
    change(folder, model_max_length=int(1e30))
    assert load_tokenizer(folder).max_length is None


def test_a_token_that_takes_spaces_along(loaded):
    roberta = loaded["roberta"]
    assert roberta.encode("a <mask> b") == [*roberta.encode("a"), roberta.mask_id, *roberta.encode(" b")]


HIGH_ID = b'{"tokenizer_class": "T5Tokenizer", "added_tokens_decoder": {"99999999": {"content": "x"}}}'


def test_where_there_is_a_tokenizer(folders, tmp_path):
    assert not has_tokenizer(tmp_path)
    assert all(has_tokenizer(folder) for folder in folders.values())
    (tmp_path / "vocab.json").write_text("{}")
    assert not has_tokenizer(tmp_path)
    with pytest.raises(UsageError, match="no tokenizer in"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "content", "error", "message"),
    [
        ("llama3", "tokenizer.json", b"{", DataError, "tokenizer.json is not valid JSON"),
        ("llama3", "tokenizer.json", b"[" * 99999, DataError, "tokenizer.json is not valid JSON"),
        ("llama3", "tokenizer.json", b"[]", DataError, "not an object"),
        ("llama3", "tokenizer.json", b'{"model": 5}', DataError, "is no tokenizer that can be used"),
        ("llama3", "tokenizer_config.json", b'{"auto_map": {"AutoTokenizer": ["x.Y"]}}', UsageError, "does not run"),
        ("llama3", "tokenizer_config.json", b'{"bos_token": 5}', DataError, "bos_token is 5, not a token"),
        ("llama3", "tokenizer_config.json", b'{"model_max_length": "x"}', DataError, "model_max_length is 'x'"),
        ("llama3", "tokenizer_config.json", b'{"padding_side": "up"}', DataError, "padding_side is 'up', not one of"),
        ("llama3", "tokenizer_config.json", b'{"chat_template": 5}', DataError, "chat_template is 5"),
        ("llama3", "chat_template.jinja", b"\xff", DataError, "chat_template.jinja is not UTF-8"),
        ("llama3", "added_tokens.json", b'{"x": -1}', DataError, "the id of 'x' is -1"),
        ("bert", "vocab.txt", b"a\nb\n", DataError, r"has no '\[UNK\]'"),
        ("bert", "vocab.txt", b"[UNK]\n", DataError, "has no cls_token"),
        ("bert", "vocab.txt", b"\xff\n", DataError, "vocab.txt is not UTF-8"),
        ("bert", "vocab.txt", b"", DataError, "vocab.txt is empty"),
        ("bert", "tokenizer_config.json", b'{"do_lower_case": "no"}', DataError, "do_lower_case is 'no', not true"),
        ("gpt2", "merges.txt", b"#version: 0.2\na b c\n", DataError, "merges.txt line 2: 'a b c' is no pair"),
        ("gpt2", "merges.txt", b"q qqqq\n", DataError, "merges.txt line 1: 'q qqqq' is no pair"),
        ("gpt2", "vocab.json", b'{"a": 1.5}', DataError, "the id of 'a' is 1.5"),
        ("gpt2", "vocab.json", b'{"a": 999999999}', DataError, "the id of 'a' is 999999999"),
        ("t5", "tokenizer_config.json", HIGH_ID, DataError, "tokens and ids up to 99999999: damaged"),
        ("t5", "spiece.model", b"\x08garbage", DataError, "spiece.model is not a sentencepiece model"),
        ("t5", "tokenizer_config.json", b'{"extra_ids": 1000000000}', DataError, "extra_ids is 1000000000, not"),
        ("t5", "tokenizer_config.json", b'{"tokenizer_class": "Foo"}', UsageError, "names the tokenizer_class 'Foo'"),
        ("t5", "tokenizer_config.json", b'{"tokenizer_class": "BertTokenizer"}', UsageError, "does not make a bert"),
        ("marian", "tokenizer_config.json", b'{"separate_vocabs": true}', UsageError, "separate_vocabs"),
        ("marian", "vocab.json", b'{"</s>": 0}', DataError, "vocab.json has no '<unk>'"),
    ],
)
def test_bad_directories(copy, name, file, content, error, message):
    folder = copy(name)
    (folder / file).write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        load_tokenizer(folder)
    assert str(folder) in str(caught.value)


def test_links_out_of_the_directory(copy, folders, tmp_path):
    folder = copy("bert")
    (folder / "vocab.txt").unlink()
    (folder / "vocab.txt").symlink_to(folders["bert"] / "vocab.txt")
    with pytest.raises(DataError, match=r"vocab.txt is a link to .* outside its directory"):
        load_tokenizer(folder)
    # As huggingface_hub keeps what it downloads.
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "0123"
    (cache / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in folders["bert"].iterdir():
        shutil.copy(path, cache / "blobs" / f"blob-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/blob-{path.name}")
    assert load_tokenizer(snapshot).mask_id == 4


def test_damaged_copies(loaded, tmp_path):
    loaded["bert"].save(tmp_path)
    description = json.loads((tmp_path / "jaxlm_tokenizer.json").read_text())

    def saved(**fields):
        (tmp_path / "jaxlm_tokenizer.json").write_text(json.dumps({**description, **fields}))

    content = (tmp_path / "vocab.txt").read_bytes()
    (tmp_path / "vocab.txt").write_bytes(content + b"x\n")
    with pytest.raises(DataError, match=r"vocab.txt is not the file that jaxlm_tokenizer.json names"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(content)
    secret = tmp_path.parent / "secret"
    secret.write_text("secret")
    saved(files={"../secret": hashlib.sha256(b"secret").hexdigest()})
    with pytest.raises(DataError, match=r"'../secret' is no tokenizer file"):
        load_tokenizer(tmp_path)
    saved(family="plain")
    assert load_tokenizer(tmp_path).encode("thee") == loaded["bert"].encode("thee")
    saved(family="gpt")
    with pytest.raises(DataError, match="unknown family 'gpt'; known: bert"):
        load_tokenizer(tmp_path)
    saved(files={"tokenizer_config.json": description["files"]["tokenizer_config.json"]})
    with pytest.raises(DataError, match="no vocabulary"):
        load_tokenizer(tmp_path)


def test_ids_outside_and_lone_surrogates(loaded):
    for name, tokenizer in loaded.items():
        with pytest.raises(DataError, match=f"token id {tokenizer.vocab_size} at position 1 is outside"):
            tokenizer.decode([0, tokenizer.vocab_size])
        for call in (tokenizer.encode, tokenizer.encode_for_model, lambda text: tokenizer.encode_many([text])):  # noqa: B023
            with pytest.raises(DataError, match="lone surrogate"):
                call("a\ud800")
        assert tokenizer.token_id("no such token") is None, name


def test_gemma_matches_its_own_symbols(tmp_path):
    model = train_pieces(
        model_type="bpe",
        vocab_size=460,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        bos_piece="<bos>",
        eos_piece="<eos>",
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\n\n"],
    )
    (tmp_path / "tokenizer.model").write_bytes(model)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.family.name == "gemma"
    ids = tokenizer.encode_prompt("<start_of_turn>thee\n\n")
    assert ids[:2] == [2, tokenizer.token_id("<start_of_turn>")]
    assert ids[-1] == tokenizer.token_id("\n\n")
    assert tokenizer.decode(ids) == "<start_of_turn>thee\n\n"


def test_llama3_keeps_names_as_text_when_asked(tmp_path):
    tokenizer = load_tokenizer(write_llama3(tmp_path, split_special_tokens=True))
    assert tokenizer.bos_id not in tokenizer.encode("<|begin_of_text|>")
    assert tokenizer.encode_for_model("thee").ids[0] == tokenizer.bos_id
