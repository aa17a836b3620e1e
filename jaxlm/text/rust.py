"""Hugging Face tokenizers that the Rust library `tokenizers` runs: WordPiece, byte-level BPE, any tokenizer.json."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from jaxlm.errors import DataError
from jaxlm.text.base import settled_bytes
from jaxlm.text.byte import SHOWN_BYTES
from jaxlm.text.encoding import Encoding, kept_lengths
from jaxlm.text.hugging_face import HuggingFaceTokenizer
from jaxlm.text.hugging_face_families import TokenizerFamily
from jaxlm.text.hugging_face_files import (
    ADDED_TOKENS_FILE,
    CHAT_TEMPLATE_FILE,
    SETTINGS_FILE,
    TOKENIZER_JSON,
    json_object,
)
from jaxlm.text.hugging_face_settings import AddedToken, Settings
from jaxlm.text.rust_vocabularies import begin_and_end, byte_pairs, surround, word_piece
from jaxlm.text.tokenizer_bounds import require_bounded
from jaxlm.text.tokenizer_json import as_json, template
from jaxlm.text.unicode import require_unicode

if TYPE_CHECKING:
    import tokenizers

# Decoders that turn tokens into text one by one, so that a further token only adds at the end.
_STEADY_DECODERS = {"WordPiece", "Metaspace", "BPEDecoder", "ByteFallback", "Fuse", "Strip", "Replace"}
_AROUND = ("add_bos_token", "add_eos_token")  # settings of what stands around a text
_BYTES = {character: value for value, character in enumerate(SHOWN_BYTES)}


class RustTokenizer(HuggingFaceTokenizer):
    """A tokenizer of the Rust library.

    Decoding is `tokenizers.Tokenizer.decode`, special tokens left out; and where the settings ask for
    `clean_up_tokenization_spaces`, spaces before punctuation are removed as `transformers` does.
    """

    def __init__(self, family: TokenizerFamily, files: Mapping[str, bytes], settings: Settings):
        """Takes the content.

        Raises:
          DataError: the files hold no tokenizer, or the ids that they give to added tokens are not free.
        """
        super().__init__(family, files, settings)
        named = self._named_tokens()
        if TOKENIZER_JSON in files:
            document = _overridden(files[TOKENIZER_JSON], family, settings)
            with _rust_errors(TOKENIZER_JSON):
                from tokenizers import Tokenizer

                self._tokenizer = Tokenizer.from_str(document)
        elif "merges.txt" in files:
            with _rust_errors("vocab.json with merges.txt"):
                self._tokenizer = byte_pairs(files, settings, qwen=family.name == "qwen2")
        else:
            with _rust_errors("vocab.txt"):
                self._tokenizer = word_piece(files, settings, named)
        # Settings that the file may carry, and that would cut or fill up without a word.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = bool(settings.flag("split_special_tokens", False))
        self._add_tokens(named)
        self._vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self._set_vocab_size(self._vocabulary.values())
        self._name_specials()
        self._surround()
        self._clean_up = bool(settings.flag("clean_up_tokenization_spaces", False)) and self._model_type != "BPE"

    @property
    def rust(self) -> "tokenizers.Tokenizer":
        """The library's own object, to look at."""
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`; names of added tokens in it become their ids; DataError for a lone surrogate."""
        require_unicode(text)
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of `text` and the characters of each, a space before a word included; see the base."""
        require_unicode(text)
        found = self._untrimmed.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns `encode` of each text, on several threads where the environment's TOKENIZERS_PARALLELISM allows."""
        for number, text in enumerate(texts):
            require_unicode(text, f"text {number}")
        # Without the offsets, which nobody asked for.
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_for_model(self, text: str, pair: str | None = None, max_length: int | None = None) -> Encoding:
        """Returns a text, or a pair, with the special ids around them and offsets; see `Tokenizer.encode_for_model`."""
        for part in (text, pair or ""):
            require_unicode(part)
        whole = self._tokenizer.encode(text, pair)
        if max_length is None or len(whole.ids) <= max_length:
            return Encoding(tuple(whole.ids), tuple(whole.type_ids), tuple(whole.offsets))
        first = self._tokenizer.encode(text, add_special_tokens=False)
        second = None if pair is None else self._tokenizer.encode(pair, add_special_tokens=False)
        lengths = [len(first.ids), 0 if second is None else len(second.ids)]
        specials = self._tokenizer.num_special_tokens_to_add(pair is not None)
        keep = kept_lengths(lengths[0], None if second is None else lengths[1], max_length, specials)
        for encoded, length in zip((first, second), keep, strict=True):
            if encoded is not None:
                encoded.truncate(length, direction=self.truncation_side)
        cut = self._tokenizer.post_process(first, second)
        return Encoding(
            tuple(cut.ids), tuple(cut.type_ids), self._offsets(whole, cut), truncated=sum(lengths) - sum(keep)
        )

    def encode_many_for_model(
        self, texts: Sequence[tuple[str, str | None]], max_length: int | None = None
    ) -> list[Encoding]:
        """Returns `encode_for_model` of each, without offsets where nothing is cut, on several threads."""
        for number, (text, pair) in enumerate(texts):
            require_unicode(text, f"text {number}")
            require_unicode(pair or "", f"text {number}")
        inputs = [text if pair is None else (text, pair) for text, pair in texts]
        return [
            Encoding(tuple(whole.ids), tuple(whole.type_ids))
            if max_length is None or len(whole.ids) <= max_length
            else self.encode_for_model(*own, max_length)
            for own, whole in zip(texts, self._tokenizer.encode_batch_fast(inputs), strict=True)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`, special ones left out; raises DataError for one outside the vocabulary."""
        text = self._tokenizer.decode(self._checked_ids(ids), skip_special_tokens=True)
        return _cleaned_up(text) if self._clean_up else text

    def settled(self, ids: Sequence[int]) -> int:
        """Returns how many leading ids have a certain text: none before the end where spaces are cleaned up."""
        ids = self._checked_ids(ids)
        if self._decoders == {"ByteLevel"}:
            return settled_bytes([self._bytes_of(token) for token in ids])
        if self._clean_up or not self._decoders <= _STEADY_DECODERS:
            return 0
        if "ByteFallback" not in self._decoders:
            return len(ids)
        # A row of bytes is read as a whole: one that is no UTF-8 shows U+FFFD for each of its bytes.
        settled = len(ids)
        for index in range(len(ids) - 1, -1, -1):
            if ids[index] in self._byte_ids:
                settled = index
            elif ids[index] not in self._silent_ids:
                break
        return settled

    def token_id(self, name: str) -> int | None:
        """Returns the id of the token `name`."""
        return self._vocabulary.get(name)

    def token_name(self, token: int) -> str | None:
        """Returns the name of the id `token`."""
        return self._tokenizer.id_to_token(token)

    def _files_for(self, prompts: bool) -> dict[str, bytes]:
        """Returns a tokenizer.json: the older files mean something else beside a model of another family."""
        open_end = prompts and self._ends_texts()
        if TOKENIZER_JSON in self.files and not open_end:
            return dict(self.files)
        document = json.loads(self._tokenizer.to_str())
        if open_end:
            begin = {str(place): (self.token_name(token) or "", token) for place, token in enumerate(self._prefix())}
            document["post_processor"] = template(begin, list(begin), ())
        # Other classes of transformers put around a text what is theirs, whatever tokenizer.json says.
        settings = {
            **{name: value for name, value in self._settings.values.items() if name not in _AROUND},
            **{f"{name}_token": content for name, content in self.special_tokens.items()},
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": self._clean_up,
        }
        kept = {name: self.files[name] for name in (CHAT_TEMPLATE_FILE,) if name in self.files}
        return {**kept, TOKENIZER_JSON: as_json(document), SETTINGS_FILE: as_json(settings, sort_keys=True)}

    def _add_tokens(self, named: Mapping[str, AddedToken]) -> None:
        """Adds the tokens that the settings name, those with a number first, as the reference does."""
        present = {token.content: token for token in self._tokenizer.get_added_tokens_decoder().values()}
        place = SETTINGS_FILE if "added_tokens_decoder" in self._settings.values else ADDED_TOKENS_FILE
        specials = {token.content for token in (*named.values(), *self._settings.extra)}
        self._add(
            (token, token.special or token.content in specials)
            for token in self._settings.numbered.values()
            if token.content not in present or not present[token.content].special
        )
        for number, token in self._settings.numbered.items():
            if self._tokenizer.token_to_id(token.content) != number:
                raise DataError(
                    f"{place} gives the id {number} to {ascii(token.content)[:100]}, which the vocabulary has under "
                    f"{self._tokenizer.token_to_id(token.content)}; the files do not belong together"
                )
        own = {token.content for token in self._settings.special.values()}
        extra = set(self._settings.extra)
        # A token that only the family names is not invented: the model has no row for it.
        wanted = [
            token
            for token in (*named.values(), *self._settings.extra)
            if token.content not in present
            and (self._tokenizer.token_to_id(token.content) is not None or token.content in own or token in extra)
        ]
        self._add((token, True) for token in wanted)

    def _add(self, tokens: Iterable[tuple[AddedToken, bool]]) -> None:
        """Adds tokens, in order; the second of each is whether it is special."""
        from tokenizers import AddedToken as RustToken

        # Many at once: the library builds its search for all of them anew at each call.
        for special, group in groupby(tokens, key=lambda entry: entry[1]):
            added = [
                RustToken(
                    token.content,
                    special=special,
                    lstrip=token.lstrip,
                    rstrip=token.rstrip,
                    single_word=token.single_word,
                    normalized=token.normalized,
                )
                for token, _ in group
            ]
            # The first of the two alone makes a token that decoding leaves out.
            (self._tokenizer.add_special_tokens if special else self._tokenizer.add_tokens)(added)

    def _surround(self) -> None:
        values = self._settings.values
        if TOKENIZER_JSON not in self.files:
            with _rust_errors("the special tokens"):
                surround(self._tokenizer, self.family.name, self._settings, self.special_tokens)
        elif ("add_bos_token" in values or "add_eos_token" in values) and self.family.name not in (
            *("bert", "roberta", "t5", "xlnet", "xlm_roberta", "camembert", "mpnet"),
        ):
            begin_and_end(self._tokenizer, self._settings, self.special_tokens)

    def _offsets(self, whole: "tokenizers.Encoding", cut: "tokenizers.Encoding") -> tuple[tuple[int, int], ...]:
        """Returns the offsets of `cut` as `whole` has them: processing twice would trim RoBERTa's spaces twice."""
        offsets = list(cut.offsets)
        for text in (0, 1):
            kept = [index for index, number in enumerate(cut.sequence_ids) if number == text]
            found = [span for span, number in zip(whole.offsets, whole.sequence_ids, strict=True) if number == text]
            spans = found[: len(kept)] if self.truncation_side == "right" else found[len(found) - len(kept) :]
            for index, span in zip(kept, spans, strict=True):
                offsets[index] = span
        return tuple(offsets)

    def _prefix(self) -> list[int]:
        for probe in ("a", "的", "0", "."):
            encoding = self._tokenizer.encode(probe)
            if 0 in encoding.special_tokens_mask:
                return encoding.ids[: encoding.special_tokens_mask.index(0)]
        return []

    @cached_property
    def _untrimmed(self) -> "tokenizers.Tokenizer":
        """The same, but for offsets without the spaces of a token: who owns a space would be lost with them."""
        processor = self._tokenizer.post_processor
        if processor is None or b'"trim_offsets":true' not in processor.__getstate__():
            return self._tokenizer
        from tokenizers import Tokenizer

        copy = Tokenizer.from_str(self._tokenizer.to_str())
        copy.post_processor = None
        copy.encode_special_tokens = self._tokenizer.encode_special_tokens
        return copy

    @cached_property
    def _model_type(self) -> str:
        return type(self._tokenizer.model).__name__

    @cached_property
    def _decoders(self) -> set[str]:
        """The names of the decoders that run one after another; "whole text" for one that is not steady."""
        if self._tokenizer.decoder is None:
            return set()  # the tokens with spaces between them
        state = json.loads(self._tokenizer.decoder.__getstate__())
        names: list[str] = []
        for decoder in state["decoders"] if state["type"] == "Sequence" else [state]:
            on_whole_text = decoder["type"] == "Replace" and "Fuse" in names
            at_the_end = decoder["type"] == "Strip" and decoder.get("stop")
            names.append("whole text" if on_whole_text or at_the_end else decoder["type"])
        return set(names)

    @cached_property
    def _silent_ids(self) -> set[int]:
        """The ids that decoding leaves out: special ones, and holes in the vocabulary."""
        special = {number for number, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        return special | (set(range(self.vocab_size)) - set(self._vocabulary.values()))

    @cached_property
    def _byte_ids(self) -> set[int]:
        names = {f"<0x{value:02X}>" for value in range(256)}
        return {number for name, number in self._vocabulary.items() if name in names}

    def _bytes_of(self, token: int) -> bytes:
        name = None if token in self._silent_ids else self._tokenizer.id_to_token(token)
        if name is None:
            return b""
        # An added token may hold characters that stand for no byte; then it is shown as it is.
        return bytes(_BYTES[c] for c in name) if all(c in _BYTES for c in name) else name.encode()


def _overridden(content: bytes, family: TokenizerFamily, settings: Settings) -> str:
    """Returns the `content` of a tokenizer.json with what tokenizer_config.json says otherwise, as the reference.

    Raises:
      DataError: it is no JSON object, or asks for more than `jaxlm.text.tokenizer_bounds` allows.
    """
    document = json_object(content, TOKENIZER_JSON)
    require_bounded(document)
    changed = False
    normalizer = document.get("normalizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        for setting, name in (
            ("do_lower_case", "lowercase"),
            ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        ):
            if settings.values.get(setting) is not None:
                normalizer[name] = settings.flag(setting, None)
                changed = True
    words = document.get("pre_tokenizer")
    if isinstance(words, dict) and words.get("type") == "ByteLevel" and family.name in ("gpt2", "roberta"):
        add_space = settings.flag("add_prefix_space", None)
        if add_space is not None:
            words["add_prefix_space"] = add_space
            changed = True
    return json.dumps(document) if changed else content.decode()


def _cleaned_up(text: str) -> str:
    """Removes the spaces before punctuation (transformers' `clean_up_tokenization`)."""
    for spaced in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(spaced, spaced.strip())
    return text


@contextmanager
def _rust_errors(name: str) -> Iterator[None]:
    """Raises DataError for what the Rust library says about the file `name`."""
    try:
        yield
    except DataError:
        raise
    except BaseException as error:
        # A panic in Rust arrives as an exception that is none of `Exception`.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise DataError(f"{name} is no tokenizer that can be used: {ascii(str(error))[:300]}") from None
        raise
