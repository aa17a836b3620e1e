"""Small Hugging Face directories of each sort of tokenizer, trained on the poems of conftest.py when needed."""

import io
import json
from pathlib import Path

from .conftest import POEMS, SONNET

LINES = [
    *SONNET.splitlines(),
    *POEMS.splitlines(),
    "it's 1,000.50 or 3,14 caf\u00e9 na\u00efve don't",
    "\u00c9t\u00e9 #5",
]

# What tokenizers are known to lose or to take for something else, and special names.
TEXTS = [
    "",
    " ",
    "\n",
    "summer",
    "  Two leading, two  inside, two trailing  ",
    "tab\tand\r\nCRLF, \n\n\n three newlines, then space \n ",
    "caf\u00e9 cafe\u0301 \ufb01 \uff21 \u212b \u0130 \u00df",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e8\U0001f1f3 \U0001f937\U0001f3fd",
    " \u5e8a \u524d \u660e\u6708\u5149 \n \u5e8a\u524d  \u4e0a\u6a13 ",
    "<s></s><pad><unk> [CLS][SEP] [MASK]. <|endoftext|> <mask> x <extra_id_0> y <cls> <sep>",
    "<0x0A><0xE2> >>fra<< \u2581, \u2581\u2581 \u2585 \u2047 \ufffd",
    "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    "\ufeffBOM \u200b\u200d\u2028\u2029\u00a0\u3000 \uffff",
    "shall I compare thee to a summer's day? it's 1,050.25 don't, ``quoted'' 3,14",
    "x" * 200,
]


def write_bert(folder: Path, **settings) -> Path:
    return write_word_pieces(folder, [], tokenizer_class="BertTokenizer", **settings)


def write_mpnet(folder: Path, **settings) -> Path:
    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    return write_word_pieces(folder, special, tokenizer_class="MPNetTokenizer", **settings)


def write_word_pieces(folder: Path, special: list[str], **settings) -> Path:
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=settings.get("do_lower_case", True))
    named = {"special_tokens": special} if special else {}
    tokenizer.train_from_iterator(LINES, vocab_size=300, min_frequency=1, show_progress=False, **named)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocabulary))
    return _settings(folder, **settings)


def write_byte_pairs(folder: Path, special: list[str], last: list[str], **settings) -> Path:
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(LINES, vocab_size=330, min_frequency=1, special_tokens=special, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary |= {token: len(vocabulary) + number for number, token in enumerate(last)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return _settings(folder, **settings)


def write_gpt2(folder: Path, **settings) -> Path:
    return write_byte_pairs(folder, [], ["<|endoftext|>"], tokenizer_class="GPT2Tokenizer", **settings)


def write_roberta(folder: Path, **settings) -> Path:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    return write_byte_pairs(folder, special, ["<mask>"], tokenizer_class="RobertaTokenizer", **settings)


def write_qwen2(folder: Path, **settings) -> Path:
    return write_byte_pairs(folder, [], ["<|endoftext|>"], tokenizer_class="Qwen2Tokenizer", **settings)


def train_pieces(lines=None, **options) -> bytes:
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines or LINES),
        model_writer=model,
        **{"vocab_size": 200, "hard_vocab_limit": False, "num_threads": 1, "minloglevel": 2, **options},
    )
    return model.getvalue()


def write_t5(folder: Path, **settings) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model = train_pieces(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (folder / "spiece.model").write_bytes(model)
    return _settings(folder, tokenizer_class="T5Tokenizer", **settings)


def write_llama(folder: Path, **settings) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model = train_pieces(
        model_type="bpe",
        vocab_size=460,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
    )
    (folder / "tokenizer.model").write_bytes(model)
    return _settings(folder, tokenizer_class="LlamaTokenizer", **{"add_bos_token": True, **settings})


def write_xlnet(folder: Path, **settings) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model = train_pieces(control_symbols=["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"])
    (folder / "spiece.model").write_bytes(model)
    return _settings(folder, tokenizer_class="XLNetTokenizer", **settings)


def write_xlm_roberta(folder: Path, **settings) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sentencepiece.bpe.model").write_bytes(train_pieces())
    return _settings(folder, tokenizer_class="XLMRobertaTokenizer", **settings)


def write_marian(folder: Path, **settings) -> Path:
    from sentencepiece import SentencePieceProcessor

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {"</s>": 0, "<unk>": 1}
    for name, lines in (("source.spm", SONNET.splitlines()), ("target.spm", LINES[-12:])):
        model = train_pieces(lines, vocab_size=120, unk_id=0, bos_id=-1, eos_id=-1)
        (folder / name).write_bytes(model)
        processor = SentencePieceProcessor(model_proto=model)
        for number in range(1, processor.vocab_size()):
            vocabulary.setdefault(processor.id_to_piece(number), len(vocabulary))
    vocabulary |= {">>fra<<": len(vocabulary), "<pad>": len(vocabulary) + 1}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return _settings(folder, tokenizer_class="MarianTokenizer", **settings)


def write_llama3(folder: Path, **settings) -> Path:
    """A tokenizer.json alone: byte-level BPE behind a template, with special tokens of a chat model."""
    from tokenizers import AddedToken, ByteLevelBPETokenizer, processors

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(LINES, vocab_size=330, min_frequency=1, show_progress=False)
    names = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    begin = names[0]
    number = tokenizer.token_to_id(begin)
    rust = tokenizer._tokenizer
    rust.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, number)]
    )
    # Which a tokenizer that was trained may carry, and which must not cut anything here.
    rust.enable_truncation(7)
    rust.enable_padding(length=9, pad_token=names[1], pad_id=rust.token_to_id(names[1]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(rust.to_str())
    named = {"bos_token": begin, "eos_token": names[1], "model_max_length": 131072}
    return _settings(folder, tokenizer_class="PreTrainedTokenizerFast", **{**named, **settings})


WRITERS = {
    "bert": write_bert,
    "mpnet": write_mpnet,
    "gpt2": write_gpt2,
    "roberta": write_roberta,
    "qwen2": write_qwen2,
    "llama3": write_llama3,
    "t5": write_t5,
    "llama": write_llama,
    "xlnet": write_xlnet,
    "xlm_roberta": write_xlm_roberta,
    "marian": write_marian,
}


def _settings(folder: Path, **settings) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
