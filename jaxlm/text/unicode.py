"""Python strings that are not text: lone surrogates have no UTF-8 form, so no tokenizer accepts them."""

from jaxlm.errors import DataError


def require_unicode(text: str, place: str = "text") -> None:
    """Raises DataError where `text`, called `place` in the message, holds a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place} has the lone surrogate U+{ord(text[error.start]):04X} at position {error.start}, which is no "
            f"character; read the source as UTF-8 with errors='replace'"
        ) from None
