"""Published vocabularies and long texts; run with JAXLM_DATA naming a folder that has vocab/ and stories260k/."""

import os
import shutil
from pathlib import Path

import pytest

from jaxlm.text.llama2c import load_llama2c_tokenizer
from jaxlm.text.tokenizer import load_tokenizer

DATA = Path(os.environ.get("JAXLM_DATA", ""))
pytestmark = pytest.mark.skipif(not os.environ.get("JAXLM_DATA"), reason="JAXLM_DATA names no folder of vocabularies")

# Where each file goes, settings, and what the published tokenizer makes of "Hello world".
DIRECTORIES: dict[str, tuple[dict[str, str], str, tuple[int, ...] | None]] = {
    "bert-base-uncased": ({"bert_base_uncased_vocab.txt": "vocab.txt"}, "{}", (101, 7592, 2088, 102)),
    "bert-base-cased": ({"bert_base_cased_vocab.txt": "vocab.txt"}, '{"do_lower_case": false}', (101, 8667, 1362, 102)),
    "bert-base-chinese": ({"bert_base_chinese_vocab.txt": "vocab.txt"}, '{"do_lower_case": false}', None),
    "gpt2": ({"gpt2_bpe_encoder.json": "vocab.json", "gpt2_bpe_vocab.bpe": "merges.txt"}, "{}", (15496, 995)),
    "gpt2-json": ({"gpt2_tokenizer.json": "tokenizer.json"}, "{}", (15496, 995)),
    "roberta": (
        {"roberta-base-vocab.json": "vocab.json", "roberta-base-merges.txt": "merges.txt"},
        "{}",
        (0, 31414, 232, 2),
    ),
    "t5": ({"t5_tokenizer_base.model": "spiece.model"}, "{}", (8774, 296, 1)),
    "mistral": ({"mistral-v1_tokenizer.model": "tokenizer.model"}, "{}", (1, 22557, 1526)),
    "bpe-32k": ({"bpe_32k_c4.model": "tokenizer.model"}, '{"add_bos_token": false}', None),
    "english": ({"sentencepiece/test_model.model": "tokenizer.model"}, "{}", None),
    "japanese": ({"sentencepiece/test_ja_model.model": "tokenizer.model"}, "{}", None),
}
TEXTS = ("botchan.txt", "wagahaiwa_nekodearu.txt", "nfkd.tsv")
CLASSES = {"bert": "BertTokenizer", "gpt2": "GPT2Tokenizer", "robe": "RobertaTokenizer", "t5": "T5Tokenizer"}


def lines():
    """Lines of English and Japanese novels and of a table of odd characters; a part of each, to be quick."""
    for name in TEXTS:
        every = (DATA / "vocab" / "sentencepiece" / name).read_text().split("\n")
        yield from every[:: max(1, len(every) // 1500)]


@pytest.fixture(scope="module", params=sorted(DIRECTORIES))
def case(request, tmp_path_factory):
    files, settings, _ = DIRECTORIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    for source, name in files.items():
        shutil.copy(DATA / "vocab" / source, folder / name)
    (folder / "tokenizer_config.json").write_text(settings)
    return request.param, folder, load_tokenizer(folder)


def test_hello_world(case):
    name, _, tokenizer = case
    expected = DIRECTORIES[name][2]
    sizes = {"bert-base-uncased": 30522, "bert-base-cased": 28996, "bert-base-chinese": 21128, "roberta": 50265}
    assert tokenizer.vocab_size == {**sizes, "t5": 32100}.get(name, tokenizer.vocab_size)
    if expected is not None:
        assert tokenizer.encode_for_model("Hello world").ids == expected


def test_texts_as_the_library(case):
    name, folder, tokenizer = case
    models = list(folder.glob("*.model"))
    if models:
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor(model_file=str(models[0]))
        for line in lines():
            ids = processor.encode(line)
            assert tokenizer.encode(line) == ids, line
            if tokenizer.unk_id not in ids:
                assert tokenizer.decode(ids) == processor.decode(ids)
    elif "gpt2" in name:
        for line in lines():
            assert tokenizer.decode(tokenizer.encode(line)) == line


def test_texts_as_transformers(case):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    name, folder, tokenizer = case
    kind = CLASSES.get(name[:4].rstrip("-"))
    if kind is None:
        pytest.skip("its conversion of a BPE model of sentencepiece has other ids than sentencepiece")
    settings = (folder / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(
        settings.replace("{", f'{{"tokenizer_class": "{kind}", ', 1).replace(", }", "}")
    )
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    texts = list(lines())
    expected = theirs(texts, add_special_tokens=False)["input_ids"]
    differing = [(ours, ids) for ours, ids in zip(tokenizer.encode_many(texts), expected, strict=True) if ours != ids]
    # Where two ways to cut "...." score alike, and for a few letters with two marks, the Rust library differs from
    # sentencepiece, which is followed (test_texts_as_the_library).
    assert len(differing) <= (len(texts) // 500 if name == "t5" else 0)
    for text in texts[::50]:
        ids = theirs(text)["input_ids"]
        assert list(tokenizer.encode_for_model(text).ids) == ids
        assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_stories():
    tokenizer = load_llama2c_tokenizer(DATA / "stories260k" / "tok512.bin")
    assert tokenizer.vocab_size == 512
    text = "Once upon a time, there was a little girl named Lily."
    ids = tokenizer.encode_prompt(text)
    assert ids[0] == 1
    assert len(ids) < 25
    assert tokenizer.decode(ids) == text
