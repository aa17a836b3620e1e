"""Learning WordPiece and byte-level BPE vocabularies with the Rust library `tokenizers`, as Hugging Face files.

The same documents give the same bytes, on any number of threads. BPE does so by itself. WordPiece there numbers the
pieces "##x" in the order of a hash table that differs from run to run, and breaks ties by these numbers: so the
alphabet is counted here, and given to it in order.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from jaxlm.errors import DataError
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.hugging_face import HuggingFaceTokenizer
from jaxlm.text.hugging_face_directory import tokenizer_from_files
from jaxlm.text.hugging_face_files import SETTINGS_FILE
from jaxlm.text.special_tokens import ROLES
from jaxlm.text.vocabulary_size import VocabularySizeError

# BERT's own, in its order; [PAD] is 0.
WORDPIECE_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
END_OF_TEXT = "<|endoftext|>"
_PREFIX = "##"
# A word is written out this often at most in one text that the library is given.
_REPEATS = 1000
_MIN_FREQUENCY = 2


def train_word_piece(config: TokenizerConfig, documents: Iterable[str]) -> HuggingFaceTokenizer:
    """Returns a WordPiece tokenizer (Devlin et al. 2019) with BERT's special tokens, those of `config` behind all.

    Memory grows with the number of different words.

    Raises:
      UsageError: the vocabulary is larger than the documents can fill, or too small for their characters.
      DataError: there is no text.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=None,  # follows lowercase
        lowercase=config.lowercase,
    )
    splitter = pre_tokenizers.BertPreTokenizer()
    words = Counter[str]()
    for document in documents:
        for line in document.splitlines():
            words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(line)))
    alphabet = _alphabet(words, config.character_coverage)
    inner = sorted({character for word in words for character in word[1:]} & alphabet)
    extra = tuple(name for name in config.special_tokens if name not in WORDPIECE_SPECIAL)
    first = [*WORDPIECE_SPECIAL, *(_PREFIX + character for character in inner)]
    assert config.vocab_size is not None, "it has been settled"
    size = config.vocab_size - len(extra)
    _require_room(config, len(first) + len(alphabet) + len(extra))
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=first,
        initial_alphabet=sorted(alphabet),
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=_PREFIX,
        show_progress=False,
    )
    known = {word: count for word, count in words.items() if alphabet.issuperset(word)}
    tokenizer.train_from_iterator(_written_out(known), trainer)
    vocabulary = _in_order(tokenizer.get_vocab())
    _require_full(config, len(vocabulary) + len(extra))
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": config.lowercase,
        "tokenize_chinese_chars": True,
        "additional_special_tokens": list(extra),
    }
    lines = "".join(f"{piece}\n" for piece in (*vocabulary, *extra))
    return tokenizer_from_files("bert", {"vocab.txt": lines.encode(), SETTINGS_FILE: _json(settings)})


def train_byte_pairs(config: TokenizerConfig, documents: Iterable[str]) -> HuggingFaceTokenizer:
    """Returns GPT-2's byte-level BPE (Radford et al. 2019): any text without loss, "<|endoftext|>" between texts.

    Raises:
      UsageError: the vocabulary is larger than the documents can fill, or too small for the bytes.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    extra = tuple(name for name in config.special_tokens if name != END_OF_TEXT)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    last = (END_OF_TEXT, *extra)
    _require_room(config, len(alphabet) + len(last))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=(config.vocab_size or 0) - len(last),
        min_frequency=_MIN_FREQUENCY,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    vocabulary = [*_in_order(tokenizer.get_vocab()), *last]
    _require_full(config, len(vocabulary))
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    roles = {f"{ROLES[name].removesuffix('_id')}_token": name for name in extra if name in ROLES}
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        **{f"{name}_token": END_OF_TEXT for name in ("bos", "eos", "unk")},
        **roles,
        "additional_special_tokens": [name for name in extra if name not in roles.values()],
    }
    files = {
        "vocab.json": _json({piece: number for number, piece in enumerate(vocabulary)}),
        "merges.txt": "".join(["#version: 0.2\n", *(f"{left} {right}\n" for left, right in merges)]).encode(),
        SETTINGS_FILE: _json(settings),
    }
    return tokenizer_from_files("gpt2", files)


def _alphabet(words: Counter[str], coverage: float) -> set[str]:
    """Returns the most frequent characters that make up `coverage` of the text."""
    counts = Counter[str]()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    if not counts:
        raise DataError("the training text is empty: there is nothing to learn a vocabulary from")
    wanted, covered, alphabet = coverage * counts.total(), 0, set()
    for character, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        if covered >= wanted:
            break
        covered += count
        alphabet.add(character)
    return alphabet


def _written_out(words: dict[str, int]) -> Iterator[str]:
    for word, count in sorted(words.items()):
        while count > 0:
            yield " ".join([word] * min(count, _REPEATS))
            count -= _REPEATS


def _in_order(vocabulary: dict[str, int]) -> list[str]:
    return sorted(vocabulary, key=lambda piece: vocabulary[piece])


def _require_room(config: TokenizerConfig, least: int) -> None:
    if config.vocab_size is not None and config.vocab_size < least:
        lower = ", or lower character_coverage" if config.kind == "wordpiece" else ""
        raise VocabularySizeError(
            f"tokenizer vocab_size {config.vocab_size} is too small; the characters of this training text and the "
            f"special ids need {least}: choose that or more{lower}",
            least,
        )


def _require_full(config: TokenizerConfig, size: int) -> None:
    if config.vocab_size is not None and size < config.vocab_size:
        raise VocabularySizeError(
            f"tokenizer vocab_size {config.vocab_size} is more than this training text can fill; the largest possible "
            f"with kind {config.kind!r} is {size}: choose that or less, or give more text",
            size,
        )


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
