"""Hugging Face tokenizers whose vocabulary is a sentencepiece model, run by sentencepiece itself.

Added tokens are found in the text first; what lies between them goes to sentencepiece. T5, XLNet and XLM-R give each
such stretch the space that sentencepiece puts before a text; Llama gives it to the text's beginning alone, unless its
settings say `legacy`, as its directories of before 2023 do.
"""

import codecs
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.text.encoding import Encoding, kept_lengths
from jaxlm.text.hugging_face import HuggingFaceTokenizer
from jaxlm.text.hugging_face_families import TokenizerFamily
from jaxlm.text.hugging_face_files import SENTENCE_PIECE_FILES, SETTINGS_FILE
from jaxlm.text.hugging_face_settings import AddedToken, Settings
from jaxlm.text.sentence_piece import SPACE_MARK, model_proto, pieces_with_spans
from jaxlm.text.tokenizer_json import as_json
from jaxlm.text.unicode import require_unicode

MAX_EXTRA_IDS = 10_000

# sentencepiece shows U+FFFD for each byte that is no UTF-8, Python's own "replace" one for several.
codecs.register_error("jaxlm_each_byte", lambda error: ("\ufffd" * (error.end - error.start), error.end))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Layout:
    """What stands around the texts: names of special tokens, and the types of the tokens of each part.

    Attributes:
      before, after: around a single text.
      between: after the first text of a pair, before the second.
      after_pair: at the end of a pair.
      types: of the first text with `before` and its own end, of the second, and of the very last token.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    after_pair: tuple[str, ...] = ()
    types: tuple[int, int, int] = (0, 0, 0)


_LAYOUTS = {
    "t5": Layout(after=("eos",), between=("eos",), after_pair=("eos",)),
    "marian": Layout(after=("eos",), after_pair=("eos",)),
    "xlnet": Layout(after=("sep", "cls"), between=("sep",), after_pair=("sep", "cls"), types=(0, 1, 2)),
    "xlm_roberta": Layout(("cls",), ("sep",), ("sep", "sep"), ("sep",)),
}
# The families that always give a stretch of text between added tokens a space of its own.
_SPACE_EVERYWHERE = ("t5", "xlnet", "xlm_roberta", "marian")
# fairseq's dictionary, which XLM-R's ids are of, puts these before sentencepiece's pieces and drops its first three.
_FAIRSEQ_FIRST = ("<s>", "<pad>", "</s>", "<unk>")


class PieceTokenizer(HuggingFaceTokenizer):
    """A tokenizer of sentencepiece: T5, Llama, Mistral, Gemma, XLNet, XLM-R."""

    def __init__(self, family: TokenizerFamily, files: Mapping[str, bytes], settings: Settings):
        """Takes the content.

        Raises:
          DataError: the model is damaged, or the ids that the settings give to added tokens are not free.
          UsageError: the family has no tokenizer of this sort.
        """
        super().__init__(family, files, settings)
        if family.name not in (*_LAYOUTS, "llama", "gemma"):
            raise UsageError(
                f"a sentencepiece model does not make a {family.name} tokenizer; its directory needs a tokenizer.json"
            )
        self._load()
        self._names = self._vocabulary()
        self._ids = {name: number for number, name in self._names.items()}
        self._added: dict[str, AddedToken] = {}
        self._special_ids: set[int] = set()
        self._add_tokens()
        self._set_vocab_size(self._names)
        self._name_specials()
        self._layout = self._family_layout()
        missing = [name for name in self._layout_names() if name not in self.special_tokens]
        if missing:
            raise DataError(f"the vocabulary has no {missing[0]}_token, which this tokenizer puts around every text")

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`; names of added tokens in it become their ids; DataError for a lone surrogate."""
        require_unicode(text)
        ids: list[int] = []
        for start, stretch, added in self._stretches(text):
            ids += [self._ids[stretch]] if added else self._encode_stretch(stretch, at_start=start == 0)
        return ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of `text` and the characters of each, those that sentencepiece makes one of included."""
        require_unicode(text)
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for start, stretch, added in self._stretches(text):
            if added:
                ids.append(self._ids[stretch])
                spans.append((start, start + len(stretch)))
            else:
                own, places = self._encode_stretch_with_spans(stretch, at_start=start == 0)
                ids += own
                spans += [(start + first, start + last) for first, last in places]
        return ids, spans

    def _stretches(self, text: str) -> Iterator[tuple[int, str, bool]]:
        """Yields the parts of `text` with their starts, and whether each is an added token: those lie between."""
        start = 0
        for match in self._added_pattern.finditer(text):
            token = self._added[match[0]]
            if token.single_word and _touches_a_word(text, match):
                continue
            if match.start() < start:  # its spaces went to the token before it
                continue
            stretch = text[start : match.start()]
            stretch = stretch.rstrip() if token.lstrip else stretch
            if stretch:
                yield start, stretch, False
            yield match.start(), match[0], True
            start = match.end()
            while token.rstrip and start < len(text) and text[start].isspace():
                start += 1
        if text[start:]:
            yield start, text[start:], False

    def encode_for_model(self, text: str, pair: str | None = None, max_length: int | None = None) -> Encoding:
        """Returns a text, or a pair, with the special ids around them; see `Tokenizer.encode_for_model`."""
        first, second = self.encode(text), None if pair is None else self.encode(pair)
        layout = self._layout
        before, after = self._numbers(layout.before), self._numbers(layout.after)
        between = [] if pair is None else self._numbers(layout.between)
        after_pair = self._numbers(layout.after_pair)
        specials = len(before) + (len(after) if second is None else len(between) + len(after_pair))
        keep = kept_lengths(len(first), None if second is None else len(second), max_length, specials)
        truncated = len(first) + len(second or ()) - sum(keep)
        first = self._cut(first, keep[0])
        one, two, last = layout.types
        if second is None:
            ids = before + first + after
            types = [one] * len(ids)
        else:
            second = self._cut(second, keep[1])
            start = before + first + between
            ids = start + second + after_pair
            types = [one] * len(start) + [two] * (len(ids) - len(start))
        if last:
            types[-1] = last
        return Encoding(tuple(ids), tuple(types), None, truncated)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`, special ones left out; raises DataError for one outside the vocabulary."""
        shown = [token for token in self._checked_ids(ids) if token in self._names and token not in self._special_ids]
        parts, row = [], b""
        for token in shown:
            if token in self._byte_ids:
                row += bytes([self._byte_ids[token]])
                continue
            if row:
                parts.append(row.decode(errors="jaxlm_each_byte"))
                row = b""
            name = self._names[token]
            parts.append(name if name in self._added else name.replace(SPACE_MARK, " "))
        text = "".join([*parts, row.decode(errors="jaxlm_each_byte")])
        return text.removeprefix(" ") if self._dummy_prefix else text

    def settled(self, ids: Sequence[int]) -> int:
        """Returns how many leading ids come before the row of bytes, if any, that they end with."""
        ids = self._checked_ids(ids)
        settled = len(ids)
        for index in range(len(ids) - 1, -1, -1):
            if ids[index] in self._byte_ids:
                settled = index
            elif ids[index] in self._names and ids[index] not in self._special_ids:
                break
        return settled

    def token_id(self, name: str) -> int | None:
        """Returns the id of the token `name`."""
        return self._ids.get(name)

    def token_name(self, token: int) -> str | None:
        """Returns the name of the id `token`."""
        return self._names.get(token)

    def _files_for(self, prompts: bool) -> dict[str, bytes]:
        """Returns the files; for prompts the end id after a text is turned off in the settings; see the base."""
        if self.family.name in _LAYOUTS or not prompts or not self._ends_texts():
            return super()._files_for(prompts)
        return {**self.files, SETTINGS_FILE: as_json({**self._settings.values, "add_eos_token": False})}

    def _load(self) -> None:
        """Makes the processors."""
        name = next(name for name in SENTENCE_PIECE_FILES if name in self.files)
        self._processor, self._dummy_prefix = load_processor(self.files[name], name)
        legacy = self.family.name in _SPACE_EVERYWHERE or self._settings.flag("legacy", False)
        self._inner = self._processor
        if self._dummy_prefix and not legacy:
            self._inner = load_processor(self.files[name], name, dummy_prefix=False)[0]

    def _vocabulary(self) -> dict[int, str]:
        processor = self._processor
        names = [processor.id_to_piece(number) for number in range(processor.vocab_size())]
        if self.family.name == "xlm_roberta":
            names = [*_FAIRSEQ_FIRST, *names[3:], "<mask>"]
        if self.family.name == "t5":
            # The last is <extra_id_0>: sentinels count down from the end (Raffel et al. 2020, appendix).
            listed = [token.content for token in self._settings.extra if token.content.startswith("<extra_id_")]
            count = self._settings.count("extra_ids", len(listed) or 100, MAX_EXTRA_IDS)
            names += [f"<extra_id_{number}>" for number in range(count - 1, -1, -1)]
        return dict(enumerate(names))

    def _add_tokens(self) -> None:
        """Makes added tokens of the special ones, wherever they are named."""
        named = self._named_tokens()
        own = {token.content for token in self._settings.special.values()}
        specials = {token.content for token in (*named.values(), *self._settings.extra)}
        for number, token in self._settings.numbered.items():
            if number in self._names and self._names[number] != token.content:
                # transformers, too, lets such an entry stand in for a placeholder of the model.
                if token.content in self._ids:
                    raise DataError(
                        f"tokenizer_config.json gives the id {number} to {ascii(token.content)[:100]}, which the "
                        f"vocabulary has under {self._ids[token.content]}; the files do not belong together"
                    )
                del self._ids[self._names[number]]
            self._names[number], self._ids[token.content] = token.content, number
            self._added[token.content] = token
            if token.special or token.content in specials:
                self._special_ids.add(number)
        for name in self._control_names():
            if name in self._ids:
                self._added.setdefault(name, AddedToken(name))
                self._special_ids.add(self._ids[name])
        for token in (*named.values(), *self._settings.extra):
            if token.content not in self._ids:
                if token.content not in own and token not in self._settings.extra:
                    continue  # a token that only the family names is not invented
                number = max(self._names) + 1
                self._names[number], self._ids[token.content] = token.content, number
            self._added.setdefault(token.content, token)
            self._special_ids.add(self._ids[token.content])
        if self.family.name == "t5":
            for name, number in self._ids.items():
                if re.fullmatch(r"<extra_id_\d+>", name):
                    self._added.setdefault(name, AddedToken(name))
                    self._special_ids.add(number)

    def _control_names(self) -> list[str]:
        processor = self._processor
        numbers = range(processor.vocab_size())
        return [processor.id_to_piece(number) for number in numbers if processor.is_control(number)]

    def _family_layout(self) -> Layout:
        if self.family.name in _LAYOUTS:
            return _LAYOUTS[self.family.name]
        begin = ("bos",) if self._settings.flag("add_bos_token", True) else ()
        end = ("eos",) if self._settings.flag("add_eos_token", False) else ()
        return Layout(begin, end, (*end, *begin), end, types=(0, 1, 0))

    def _layout_names(self) -> set[str]:
        layout = self._layout
        return {*layout.before, *layout.after, *layout.between, *layout.after_pair}

    def _prefix(self) -> list[int]:
        return self._numbers(self._layout.before)

    def _numbers(self, names: Iterable[str]) -> list[int]:
        return [self._ids[self.special_tokens[name]] for name in names]

    def _cut(self, ids: list[int], length: int) -> list[int]:
        return ids[:length] if self.truncation_side == "right" else ids[len(ids) - length :]

    def _encode_stretch(self, text: str, at_start: bool) -> list[int]:
        """Returns the ids of text without added tokens, which is that of the whole text's beginning or not."""
        processor = self._processor if at_start else self._inner
        if self.family.name == "xlnet":
            pieces, _ = _xlnet_pieces(processor, _xlnet_text(text, self._settings))
            return [processor.piece_to_id(piece) for piece in pieces]
        ids = processor.encode(text)
        if self.family.name == "xlm_roberta":
            # One further than sentencepiece's, but for its unknown piece, which is 0 there.
            return [number + 1 if number else self._ids["<unk>"] for number in ids]
        return ids

    def _encode_stretch_with_spans(self, text: str, at_start: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of `_encode_stretch`, and the characters of each."""
        processor = self._processor if at_start else self._inner
        if self.family.name == "xlnet":
            plain, sources = _xlnet_sources(text, self._settings)
            pieces, places = _xlnet_pieces(processor, plain)
            return [processor.piece_to_id(piece) for piece in pieces], [_source(sources, place) for place in places]
        _, ids, spans = pieces_with_spans(processor, text)
        if self.family.name == "xlm_roberta":
            ids = [number + 1 if number else self._ids["<unk>"] for number in ids]
        return ids, spans

    @cached_property
    def _added_pattern(self) -> re.Pattern[str]:
        names = sorted(self._added, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or "(?!)")

    @cached_property
    def _byte_ids(self) -> dict[int, int]:
        names = {f"<0x{value:02X}>": value for value in range(256)}
        return {self._ids[name]: value for name, value in names.items() if name in self._ids}


def load_processor(model: bytes, name: str, dummy_prefix: bool | None = None) -> tuple[Any, bool]:
    """Returns a sentencepiece processor, and whether it puts a space before a text.

    Args:
      model: the serialized model.
      name: its file's name, for the message.
      dummy_prefix: whether to put a space before a text; None leaves it to the model.

    Raises:
      DataError: it is no sentencepiece model.
    """
    from sentencepiece import SentencePieceProcessor

    try:
        if dummy_prefix is not None:
            proto = model_proto(model)
            proto.normalizer_spec.add_dummy_prefix = dummy_prefix
            model = proto.SerializeToString()
        processor = SentencePieceProcessor(model_proto=model)
        for number in range(processor.vocab_size()):
            processor.id_to_piece(number)
    except (RuntimeError, UnicodeDecodeError):
        raise DataError(f"{name} is not a sentencepiece model, or a damaged one") from None
    return processor, processor.normalize("a").startswith(SPACE_MARK)


def _touches_a_word(text: str, match: "re.Match[str]") -> bool:
    around = text[max(0, match.start() - 1) : match.start()] + text[match.end() : match.end() + 1]
    return any(character.isalnum() or character == "_" for character in around)


def _xlnet_text(text: str, settings: Settings) -> str:
    """Returns the text as XLNet's preprocess_text leaves it (zihangdai/xlnet, prepro_utils.py)."""
    if settings.flag("remove_space", True):
        text = " ".join(text.split())
    text = text.replace("``", '"').replace("''", '"')
    if not settings.flag("keep_accents", False):
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return text.lower() if settings.flag("do_lower_case", False) else text


def _xlnet_sources(text: str, settings: Settings) -> tuple[str, list[tuple[int, int]]]:
    """Returns `_xlnet_text`, and for each of its characters those [start, end) of `text` that it stands for."""
    made = [(character, at, at + 1) for at, character in enumerate(text)]
    if settings.flag("remove_space", True):
        words = [made[match.start() : match.end()] for match in re.finditer(r"\S+", text)]
        made = words[0] if words else []
        for before, word in itertools.pairwise(words):
            made += [(" ", before[-1][2], word[0][1]), *word]
    for quotes in ("``", "''"):
        kept: list[tuple[str, int, int]] = []
        for one in made:
            # As `str.replace`: from left to right, and what was replaced is no longer there.
            if kept and kept[-1][0] + one[0] == quotes:
                kept[-1] = ('"', kept[-1][1], one[2])
            else:
                kept.append(one)
        made = kept
    if not settings.flag("keep_accents", False):
        made = [
            (part, start, end)
            for character, start, end in made
            for part in unicodedata.normalize("NFKD", character)
            if not unicodedata.combining(part)
        ]
    plain, sources = "".join(one for one, _, _ in made), [(start, end) for _, start, end in made]
    if settings.flag("do_lower_case", False):
        sources = [source for (one, _, _), source in zip(made, sources, strict=True) for _ in one.lower()]
        plain = plain.lower()
    return plain, sources


def _source(sources: Sequence[tuple[int, int]], place: tuple[int, int]) -> tuple[int, int]:
    """Returns the characters of the text that the characters `place` of the one made from it stand for."""
    start, end = place
    if start < end:
        return sources[start][0], sources[end - 1][1]
    at = sources[start][0] if start < len(sources) else sources[-1][1] if sources else 0
    return at, at


def _xlnet_pieces(processor: Any, text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Returns the pieces and their characters, a comma after a digit by itself (encode_pieces of the same file)."""
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    for piece, _, (start, end) in zip(*pieces_with_spans(processor, text), strict=True):
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            parts = processor.encode(piece[:-1].replace(SPACE_MARK, ""), out_type=str)
            if piece[0] != SPACE_MARK and parts[0][0] == SPACE_MARK:
                parts = parts[1:] if len(parts[0]) == 1 else [parts[0][1:], *parts[1:]]
            pieces += [*parts, piece[-1]]
            spans += [*[(start, end - 1)] * len(parts), (end - 1, end)]
        else:
            pieces.append(piece)
            spans.append((start, end))
    return pieces, spans
