"""The same ids, types and texts as transformers, where it is installed.

Where its conversion of a sentencepiece model differs from sentencepiece itself, this follows sentencepiece, and the
texts here avoid it: repeated and leading spaces for Llama (test_ids_are_those_of_sentencepiece has them), and words
that two ways to cut score alike.
"""

import json
import warnings

import pytest

from jaxlm.errors import UsageError
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import load_tokenizer, train_tokenizer

from .conftest import POEMS, SONNET
from .small_directories import TEXTS, WRITERS, train_pieces, write_bert, write_byte_pairs

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SETTINGS = {
    "bert": {},
    "mpnet": {},
    "gpt2": {},
    # Its own class leaves out that the mask takes a space along, which roberta-base's tokenizer.json has.
    "roberta": {"mask_token": {"content": "<mask>", "lstrip": True, "__type": "AddedToken"}},
    "qwen2": {},
    "llama3": {},
    "t5": {},
    "llama": {"add_eos_token": True},
    "xlnet": {},
    "xlm_roberta": {},
    "marian": {},
}
NO_DOUBLE_SPACES = [text for text in TEXTS if "  " not in text and text[:1] not in (" ", "\u2581")]


def reference(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it would like to have
        return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def case(request, tmp_path_factory):
    name = request.param
    folder = WRITERS[name](tmp_path_factory.mktemp(name), **SETTINGS[name])
    return name, load_tokenizer(folder), reference(folder), NO_DOUBLE_SPACES if name == "llama" else TEXTS


def test_single_texts(case):
    _, ours, theirs, texts = case
    for text in texts:
        expected = theirs(text)
        encoding = ours.encode_for_model(text)
        assert list(encoding.ids) == expected["input_ids"], text
        if "token_type_ids" in expected:
            assert list(encoding.token_type_ids) == expected["token_type_ids"]
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)
        assert ours.decode(encoding.ids) == theirs.decode(encoding.ids, skip_special_tokens=True)


def test_pairs_and_truncation(case):
    name, ours, theirs, texts = case
    for text in texts:
        for pair in ("thee", texts[-2]):
            for length in (None, 7, 10, 31):
                # Its Marian cuts token by token, and is not made for pairs.
                if name == "marian" and length is not None:
                    continue
                # A single pair of strings with an empty one would be taken for no pair.
                expected = theirs([text], [pair], truncation=length is not None, max_length=length)
                encoding = ours.encode_for_model(text, pair, length)
                assert list(encoding.ids) == expected["input_ids"][0], (text, pair, length)
                if "token_type_ids" in expected:
                    assert list(encoding.token_type_ids) == expected["token_type_ids"][0]
        for length in (4, 9):
            expected = theirs(text, truncation=True, max_length=length)["input_ids"]
            assert list(ours.encode_for_model(text, max_length=length).ids) == expected


def test_special_ids_and_settings(case):
    name, ours, theirs, _ = case
    for special in ("bos", "eos", "pad", "unk", "cls", "sep", "mask"):
        expected = getattr(theirs, f"{special}_token_id")
        if name == "llama3" and special == "pad":
            continue  # it takes the one that tokenizer.json fills up with
        assert getattr(ours, f"{special}_id") == expected, special
    assert ours.padding_side == theirs.padding_side
    assert ours.vocab_size == len(theirs)


def test_any_ids_decode_alike(case):
    import numpy as np

    name, ours, theirs, _ = case
    if name in ("llama", "marian"):
        return  # what is no UTF-8 shows otherwise there than in sentencepiece
    for ids in np.random.default_rng(0).integers(0, ours.vocab_size, (100, 8)).tolist():
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_marian_targets(tmp_path):
    folder = WRITERS["marian"](tmp_path)
    ours, theirs = load_tokenizer(folder).for_targets(), reference(folder)
    for text in TEXTS:
        assert list(ours.encode_for_model(text).ids) == theirs(text_target=text)["input_ids"]


def test_left_truncation(tmp_path):
    folder = write_bert(tmp_path, truncation_side="left")
    ours, theirs = load_tokenizer(folder), reference(folder)
    for pair in (None, "thou art more lovely"):
        encoding = ours.encode_for_model("shall I compare thee", pair, 8)
        expected = theirs("shall I compare thee", pair, truncation=True, max_length=8, return_offsets_mapping=True)
        assert list(encoding.ids) == expected["input_ids"]
        assert [list(span) for span in encoding.offsets] == [list(span) for span in expected["offset_mapping"]]


OURS = {
    "byte": TokenizerConfig(kind="byte"),
    "character": TokenizerConfig(),
    "unigram": TokenizerConfig(kind="sentencepiece", vocab_size=400),
    "bpe": TokenizerConfig(kind="sentencepiece", vocab_size=400, algorithm="bpe"),
    "no bytes": TokenizerConfig(kind="sentencepiece", vocab_size=150, algorithm="bpe", byte_fallback=False),
}


# What stands in config.json has no say in a tokenizer.json of ours.
@pytest.mark.parametrize(("name", "config"), [*((name, None) for name in OURS), ("bpe", "gpt2"), ("byte", "llama")])
def test_our_own_exported(tmp_path, name, config):
    ours = train_tokenizer(OURS[name], [SONNET, POEMS])
    for file, content in ours.export_files().items():
        (tmp_path / file).write_bytes(content)
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": config}))
    theirs = reference(tmp_path)
    texts = [SONNET, POEMS] if name == "character" else [SONNET, POEMS, *TEXTS]
    for text in texts:
        expected = ours.encode_for_model(text)
        assert theirs(text)["input_ids"] == list(expected.ids), text
        assert theirs.encode(text, add_special_tokens=False) == ours.encode(text)
        if name != "no bytes":
            assert theirs.decode(ours.encode(text), skip_special_tokens=True) == ours.decode(ours.encode(text))
    for special in ("bos", "eos", "pad", "unk"):
        assert getattr(theirs, f"{special}_token_id") == getattr(ours, f"{special}_id")
    assert len(theirs) == ours.vocab_size
    # And as ours again, which now has another kind and the same ids.
    again = load_tokenizer(tmp_path)
    for text in texts:
        assert again.encode(text) == ours.encode(text)
        assert again.encode_for_model(text, "thee").ids == ours.encode_for_model(text, "thee").ids


def test_the_byte_tokenizer_exports_what_it_is():
    assert ByteTokenizer().export_files().keys() == {"tokenizer.json", "tokenizer_config.json"}


def assert_alike(ours, theirs):
    for text in TEXTS:
        assert list(ours.encode_for_model(text).ids) == theirs(text)["input_ids"], text
        assert list(ours.encode_for_model(text, "thee").ids) == theirs([text], ["thee"])["input_ids"][0], text
    for special in ("bos", "eos", "pad", "unk", "cls", "sep", "mask"):
        assert getattr(ours, f"{special}_id") == getattr(theirs, f"{special}_token_id"), special


def test_opt_has_gpt2s_with_an_id_before_each_text(tmp_path):
    named = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    write_byte_pairs(tmp_path, ["<s>", "<pad>", "</s>"], [], add_bos_token=True, **named)
    (tmp_path / "config.json").write_text('{"model_type": "opt"}')
    ours = load_tokenizer(tmp_path)
    assert_alike(ours, reference(tmp_path))
    assert ours.encode_prompt("summer")[0] == ours.bos_id == 2


def test_camembert_is_read_from_its_tokenizer_json(tmp_path):
    """The published settings name neither the class nor the special tokens."""
    (tmp_path / "sentencepiece.bpe.model").write_bytes(train_pieces())
    transformers.CamembertTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    (tmp_path / "config.json").write_text('{"model_type": "camembert"}')
    ours = load_tokenizer(tmp_path)
    assert_alike(ours, reference(tmp_path))
    assert (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id) == (1, 3, 5, 6)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"does not make a camembert tokenizer; its directory needs a tokenizer\.json"):
        load_tokenizer(tmp_path)
