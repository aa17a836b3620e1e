"""Tags that mark entities: BIO and BIOES name the same things as BILOU."""

_AS_BIOES = {"L": "E", "U": "S"}  # BILOU's names for the last word of several, and for a unit of one


def as_bioes(tag: str) -> str:
    """Returns a tag with BIOES's prefix in place of BILOU's."""
    return _AS_BIOES.get(tag[:1], tag[:1]) + tag[1:] if tag[1:2] == "-" else tag
