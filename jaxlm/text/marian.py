"""Marian's tokenizer: two sentencepiece models, one a language, whose pieces have ids of their own in vocab.json."""

from collections.abc import Iterable, Mapping

from jaxlm.errors import DataError, UsageError
from jaxlm.text.hugging_face_families import TokenizerFamily
from jaxlm.text.hugging_face_files import token_ids
from jaxlm.text.hugging_face_settings import Settings
from jaxlm.text.pieces import PieceTokenizer, load_processor
from jaxlm.text.sentence_piece import pieces_with_spans


class MarianTokenizer(PieceTokenizer):
    """Encodes the language that is translated from; `for_targets` encodes the other. Both decode either."""

    def __init__(self, family: TokenizerFamily, files: Mapping[str, bytes], settings: Settings, target: bool = False):
        """Takes the content, and whether the texts are in the language that is translated to.

        Raises:
          DataError: a model is damaged, or the vocabulary is none.
          UsageError: the two languages have vocabularies of their own.
        """
        if settings.flag("separate_vocabs", False):
            raise UsageError(
                "tokenizer_config.json has separate_vocabs: one id would stand for two tokens; not supported"
            )
        self._target = target
        super().__init__(family, files, settings)

    def for_targets(self) -> "MarianTokenizer":
        """Returns the tokenizer of the language that is translated to."""
        return MarianTokenizer(self.family, self.files, self._settings, target=True)

    def __reduce__(self) -> tuple[type, tuple]:
        """Pickles the files, for data workers in other processes."""
        return type(self), (self.family, self.files, self._settings, self._target)

    def _load(self) -> None:
        name = "target.spm" if self._target else "source.spm"
        self._processor, self._dummy_prefix = load_processor(self.files[name], name)
        self._inner = self._processor

    def _vocabulary(self) -> dict[int, str]:
        names = {number: name for name, number in token_ids(self.files["vocab.json"], "vocab.json").items()}
        if "<unk>" not in names.values():
            raise DataError("vocab.json has no '<unk>', which stands for unknown pieces")
        return names

    def _control_names(self) -> list[str]:
        return []  # the models' own are none of Marian's

    def _encode_stretch(self, text: str, at_start: bool) -> list[int]:
        language, text = _language(text)
        return self._numbered([*language, *self._processor.encode(text, out_type=str)])

    def _encode_stretch_with_spans(self, text: str, at_start: bool) -> tuple[list[int], list[tuple[int, int]]]:
        language, text = _language(text)
        pieces, _, spans = pieces_with_spans(self._processor, text)
        begin = sum(map(len, language))
        places = [(0, begin)] * len(language) + [(begin + start, begin + end) for start, end in spans]
        return self._numbered([*language, *pieces]), places

    def _numbered(self, pieces: list[str]) -> list[int]:
        unknown = self._ids[self._named_tokens()["unk"].content]
        return [self._ids.get(piece, unknown) for piece in pieces]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`, special ones left out, without spaces around it."""
        return super().decode(ids).strip()


def _language(text: str) -> tuple[list[str], str]:
    """Returns the language to translate to, such as >>fra<<, if the text begins with one, and the rest."""
    end = text.find("<<")
    return ([text[: end + 2]], text[end + 2 :]) if text.startswith(">>") and end >= 0 else ([], text)
