"""Which language a text is in, by py3langid, whose model comes with it."""

from functools import lru_cache
from typing import Any

from jaxlm.errors import UsageError

_READ_CHARACTERS = 10_000  # of a document


class LanguageFilter:
    """Drops documents that are not in one of several languages, or not certainly so."""

    def __init__(self, languages: tuple[str, ...], confidence: float):
        """Loads the model.

        Args:
          languages: ISO 639-1 codes.
          confidence: the least probability, among all languages that the model knows, of the best one.

        Raises:
          UsageError: py3langid is not installed, or does not know a language.
        """
        self._identifier = _identifier()
        known = sorted(self._identifier.labels)
        for language in languages:
            if language not in known:
                raise UsageError(f"languages has {language!r}; known: {', '.join(known)}")
        self._languages = frozenset(languages)
        self._confidence = confidence

    def __call__(self, text: str) -> tuple[str, str] | None:
        """Returns why `text` is dropped; None if it is kept."""
        language, probability = self._identifier.classify(text[:_READ_CHARACTERS])
        if language not in self._languages:
            return "language", f"{language} ({probability:.2f})"
        return None if probability >= self._confidence else ("language_uncertain", f"{language} ({probability:.2f})")


@lru_cache(maxsize=1)
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise UsageError("languages needs py3langid: pip install 'jaxlm[filters]'") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
