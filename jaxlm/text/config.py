"""Which tokenizer an experiment uses."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from jaxlm.errors import UsageError, unknown_name

TokenizerKind = Literal["character", "byte", "sentencepiece", "wordpiece", "bpe", "folder"]
SentencePieceAlgorithm = Literal["unigram", "bpe"]

# An embedding row per id: beyond this a typing error is likelier than a wish.
MAX_VOCAB_SIZE = 4_000_000
MAX_SPECIAL_TOKENS = 10_000
# sentencepiece accepts nothing below.
MIN_CHARACTER_COVERAGE = 0.98

# What a kind has of its own, beside special tokens.
_OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "character": (),
    "byte": (),
    "sentencepiece": ("vocab_size", "algorithm", "character_coverage", "byte_fallback"),
    "wordpiece": ("vocab_size", "character_coverage", "lowercase"),
    "bpe": ("vocab_size",),
    "folder": ("folder",),
}


@dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes token ids."""

    kind: TokenizerKind = "character"
    """character: one id for each distinct character of the training text; byte: UTF-8 bytes, needs no training;
    sentencepiece: subwords learned from the training text; wordpiece: BERT's; bpe: GPT-2's, merged bytes; folder: one
    that is there already."""

    vocab_size: int | None = None
    """Number of ids, special ones included (sentencepiece, wordpiece and bpe; the other kinds have the size they
    need). None takes one for 500 bytes of the training text, from 600 to 8192, and fewer where the text fills fewer."""

    algorithm: SentencePieceAlgorithm = "unigram"
    """How subwords are learned (sentencepiece only)."""

    character_coverage: float = 0.9995
    """Share of the training text's characters that get a piece of their own; rarer ones are spelled in bytes or unknown
    (sentencepiece and wordpiece; from 0.98 to 1)."""

    byte_fallback: bool = True
    """Spell unknown characters in UTF-8 bytes, so that any text can be encoded without loss; otherwise each run of
    them becomes the unknown token (sentencepiece only)."""

    special_tokens: tuple[str, ...] = ()
    """Further ids that no text encodes to, by name: "[CLS]", "[SEP]" and "[MASK]" of masked language models, sentinels
    ("<extra_id_0>", ...) of span corruption. They come after all others."""

    lowercase: bool = True
    """Lower the case and remove accents, as uncased BERT does (wordpiece only)."""

    folder: str = ""
    """The tokenizer that is there: a run's tokenizer/, that of a prepared corpus, a Hugging Face directory (folder
    only)."""

    def validate(self) -> None:
        """Raises UsageError for a value that is unknown or out of range, or that this kind would ignore."""
        if self.kind not in get_args(TokenizerKind):
            raise unknown_name("tokenizer kind", str(self.kind), get_args(TokenizerKind))
        self._validate_special_tokens()
        self._refuse_ignored_fields()
        if self.kind == "folder":
            if not self.folder:
                raise UsageError("tokenizer folder is empty; name the folder that holds the tokenizer")
            if self.special_tokens:
                raise UsageError("tokenizer special_tokens belong to tokenizers that are trained; kind 'folder' is not")
        if "vocab_size" not in _OWN_FIELDS[self.kind]:
            return
        if self.algorithm not in get_args(SentencePieceAlgorithm):
            raise unknown_name("sentencepiece algorithm", str(self.algorithm), get_args(SentencePieceAlgorithm))
        self._validate_vocab_size()
        coverage = self.character_coverage
        if type(coverage) not in (int, float) or not MIN_CHARACTER_COVERAGE <= coverage <= 1:
            raise UsageError(
                f"tokenizer character_coverage is {coverage!r}; it must be a number from {MIN_CHARACTER_COVERAGE} to 1"
            )
        for name in ("byte_fallback", "lowercase"):
            if type(getattr(self, name)) is not bool:
                raise UsageError(f"tokenizer {name} is {getattr(self, name)!r}; it must be True or False")

    def _validate_vocab_size(self) -> None:
        if self.vocab_size is None:
            return
        if type(self.vocab_size) is not int or not 1 <= self.vocab_size <= MAX_VOCAB_SIZE:
            raise UsageError(
                f"tokenizer vocab_size is {self.vocab_size!r}; it must be a whole number from 1 to {MAX_VOCAB_SIZE}"
            )
        if self.vocab_size <= len(self.special_tokens):
            raise UsageError(
                f"tokenizer vocab_size {self.vocab_size} is no more than its {len(self.special_tokens)} special tokens"
            )

    def _validate_special_tokens(self) -> None:
        names = self.special_tokens
        if len(names) > MAX_SPECIAL_TOKENS:
            raise UsageError(f"tokenizer special_tokens are {len(names)}; at most {MAX_SPECIAL_TOKENS} are possible")
        for number, name in enumerate(names):
            if type(name) is not str or not name.strip():
                raise UsageError(f"tokenizer special_tokens has {name!r} at {number}; each must be a name")
            if name in names[:number]:
                raise UsageError(f"tokenizer special_tokens has {name!r} twice")

    def _refuse_ignored_fields(self) -> None:
        for field in fields(self):
            value, name = getattr(self, field.name), field.name
            if name in ("kind", "special_tokens") or name in _OWN_FIELDS[self.kind] or value == field.default:
                continue
            kinds = " or ".join(repr(kind) for kind, own in _OWN_FIELDS.items() if name in own)
            raise UsageError(
                f"tokenizer {name}={value!r} has no effect on kind {self.kind!r}; remove it, or choose kind {kinds}"
            )
