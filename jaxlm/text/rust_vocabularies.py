"""Tokenizers of the Rust library `tokenizers`, built from the older vocabulary files as their reference builds them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jaxlm.errors import DataError
from jaxlm.text.hugging_face_files import token_ids
from jaxlm.text.hugging_face_settings import AddedToken, Settings

if TYPE_CHECKING:
    import tokenizers

# How GPT-4 and Qwen cut text into words before merging (Qwen2's tokenization_qwen2.py).
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Unicode's White_Space, of which Python's own `str.rstrip` takes four more.
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def word_piece(
    files: Mapping[str, bytes], settings: Settings, special: Mapping[str, AddedToken]
) -> "tokenizers.Tokenizer":
    """Returns BERT's tokenizer (Devlin et al. 2019) of the vocab.txt in `files`; it adds no special ids yet.

    Lower-casing is on unless the settings say otherwise, as in the reference.

    Raises:
      DataError: vocab.txt is not a vocabulary, or has no token for what is unknown.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    # The ends are cut as the Rust library cuts them when it reads this file.
    lines = _lines(files["vocab.txt"], "vocab.txt")
    vocabulary = {token.rstrip(_WHITE_SPACE): number for number, token in enumerate(lines)}
    unknown = special["unk"].content if "unk" in special else "[UNK]"
    if unknown not in vocabulary:
        raise DataError(f"vocab.txt has no {unknown!a}, which stands for unknown words")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.flag("tokenize_chinese_chars", True)),
        strip_accents=settings.flag("strip_accents", None),
        lowercase=bool(settings.flag("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def byte_pairs(files: Mapping[str, bytes], settings: Settings, qwen: bool = False) -> "tokenizers.Tokenizer":
    """Returns GPT-2's tokenizer (Radford et al. 2019) of the vocab.json and merges.txt in `files`.

    Raises:
      DataError: the files are no vocabulary and its merges.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = token_ids(files["vocab.json"], "vocab.json")
    merges = []
    for number, line in enumerate(_lines(files["merges.txt"], "merges.txt")):
        if not line or (number == 0 and line.startswith("#version")):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2 or not all(token in vocabulary for token in (*pair, "".join(pair))):
            raise DataError(f"merges.txt line {number + 1}: {ascii(line)[:100]} is no pair of tokens of vocab.json")
        merges.append(pair)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    add_space = bool(settings.flag("add_prefix_space", False))
    if qwen:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_QWEN_WORDS), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=add_space, use_regex=False),
            ]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def surround(tokenizer: "tokenizers.Tokenizer", family: str, settings: Settings, special: Mapping[str, str]) -> None:
    """Makes `tokenizer` put the special ids of `family` around a text and a pair, its special tokens being there.

    Raises:
      DataError: a token that belongs there is not in the vocabulary.
    """
    from tokenizers import processors

    def numbered(name: str) -> tuple[str, int]:
        content = special.get(name)
        number = None if content is None else tokenizer.token_to_id(content)
        if content is None or number is None:
            raise DataError(f"the vocabulary has no {name}_token, which this tokenizer puts around every text")
        return content, number

    if family == "bert":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{special.get('cls')}:0 $A:0 {special.get('sep')}:0",
            pair=f"{special.get('cls')}:0 $A:0 {special.get('sep')}:0 $B:1 {special.get('sep')}:1",
            special_tokens=[numbered("cls"), numbered("sep")],
        )
    elif family in ("roberta", "mpnet"):
        tokenizer.post_processor = processors.RobertaProcessing(
            numbered("sep"),
            numbered("cls"),
            trim_offsets=bool(settings.flag("trim_offsets", True)),
            add_prefix_space=bool(settings.flag("add_prefix_space", False)),
        )
    else:
        begin_and_end(tokenizer, settings, special)


def begin_and_end(tokenizer: "tokenizers.Tokenizer", settings: Settings, special: Mapping[str, str]) -> None:
    """Makes `tokenizer` put the begin and the end id around each text where the settings ask for them."""
    from tokenizers import processors

    begin, end = (special.get(name) if settings.flag(f"add_{name}_token", False) else None for name in ("bos", "eos"))

    def text(letter: str, number: int) -> str:
        parts = [begin and f"{begin}:{number}", f"${letter}:{number}", end and f"{end}:{number}"]
        return " ".join(part for part in parts if part)

    tokenizer.post_processor = processors.TemplateProcessing(
        single=text("A", 0),
        pair=f"{text('A', 0)} {text('B', 1)}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in {begin, end} if token],
    )


def _lines(content: bytes, name: str) -> list[str]:
    """Returns the lines of a file as Python's text mode reads them, which knows no other ends of lines than these."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]
