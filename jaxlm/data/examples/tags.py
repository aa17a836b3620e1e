"""How tags mark entities: BIO, IOB1, BIOES or BILOU, of which the last two name the same."""

from collections.abc import Sequence

_AS_BIOES = {"L": "E", "U": "S"}  # BILOU's names for the last word of several, and for a unit of one


def entity_scheme(labels: Sequence[str]) -> str:
    """Returns how all tags of the data mark entities: 'BIO', 'IOB1', 'BIOES' or 'BILOU'; empty where they do not.

    Tags are O and a prefix with a type. IOB1 has B- only where an entity follows another of its type, so data without
    one is told by having I- alone; where both occur the two are read alike, as conlleval does.
    """
    prefixes = {label[:1] for label in labels if label != "O"}
    if not prefixes or any(label != "O" and (label[1:2] != "-" or not label[2:]) for label in labels):
        return ""
    if prefixes == {"I"}:
        return "IOB1" if "O" in labels else ""
    if not prefixes & {"B", "S", "U"}:
        return ""
    for name, known in (("BIO", "BI"), ("BIOES", "BIES"), ("BILOU", "BILU")):
        if prefixes <= set(known):
            return name
    return ""


def as_bioes(tag: str) -> str:
    """Returns a tag with BIOES's prefix in place of BILOU's."""
    return _AS_BIOES.get(tag[:1], tag[:1]) + tag[1:] if tag[1:2] == "-" else tag
