"""The section of a report on its settings: what differs from the defaults first, everything else folded away."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxlm.experiment import Experiment, flatten
from jaxlm.training.report_markup import bounded, cut, escape, in_words

_MAX_SETTING_LENGTH = 300  # characters
_MAX_SECTIONS = 100
_MAX_SETTINGS_BYTES = 400_000  # of markup
_MAX_CHANGED = 200
_KNOWN_ELSEWHERE = ("name",)  # the title


def settings_section(description: Mapping[str, Any]) -> str:
    """Returns the section's markup.

    Args:
      description: what the run folder's experiment.json holds; it is not trusted.
    """
    own = description.get("experiment")  # the run folder keeps the experiment apart from the facts about the run
    facts = {name: content for name, content in description.items() if name != "corpus"}  # has a section of its own
    if isinstance(own, dict):
        del facts["experiment"]
    changed = _changed(own) if isinstance(own, dict) else []
    return _changed_table(changed) + _folded({**own, **facts} if isinstance(own, dict) else facts)


def _changed(own: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Settings that are not the defaults: (dotted name, value, default)."""
    defaults = flatten(Experiment().to_dict())
    return [
        (name, value, defaults.get(name))
        for name, value in flatten(dict(own)).items()
        if name not in _KNOWN_ELSEWHERE and _plain(value) != _plain(defaults.get(name))
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # as JSON has it


def _changed_table(changed: list[tuple[str, Any, Any]]) -> str:
    if not changed:
        return ""
    rows = (
        f'<tr><th scope="row">{escape(cut(name, 200))}</th><td>{_value(value)}</td>'
        f"<td>{_value(_plain(default))}</td></tr>\n"
        for name, value, default in changed[:_MAX_CHANGED]
    )
    left = len(changed) - _MAX_CHANGED
    note = f'<p class="note">{left:,} more are among all settings.</p>' if left > 0 else ""
    return (
        '<div class="scroll data"><table class="settings"><caption>Settings other than the defaults, and what this run '
        'derived from its data</caption><thead><tr><th scope="col">setting</th><th scope="col">value</th>'
        f'<th scope="col">default</th></tr></thead><tbody>{"".join(bounded(rows, _MAX_SETTINGS_BYTES))}</tbody></table>'
        f"</div>{note}"
    )


def _value(value: Any) -> str:
    return escape(cut(in_words(value), _MAX_SETTING_LENGTH))


def _folded(tree: Mapping[str, Any]) -> str:
    """All settings: a collapsible table a section, its nested keys joined by dots as on the command line."""
    sections: dict[str, list[tuple[str, Any]]] = {}
    for section, content in tree.items():
        if isinstance(content, dict) and content:
            sections.setdefault(section, []).extend(flatten(content).items())
        else:
            sections.setdefault("run", []).append((section, content))
    room, blocks = _MAX_SETTINGS_BYTES, []
    for section, settings in list(sections.items())[:_MAX_SECTIONS]:
        shown = bounded(_rows(settings), room)
        room -= len("".join(shown).encode("utf-8", "replace"))
        number = f"{len(settings):,}" if len(shown) == len(settings) else f"{len(shown):,} of {len(settings):,} shown"
        blocks.append(
            f"<details><summary>{escape(cut(section, 200))}<span>{number}</span></summary>"
            f'<table class="settings"><tbody>{"".join(shown)}</tbody></table></details>\n'
        )
    if len(sections) > len(blocks):
        blocks.append(f'<p class="note">{len(blocks)} of {len(sections):,} sections.</p>')
    return "".join(blocks) or '<p class="note">The experiment is empty.</p>'


def _rows(settings: Iterable[tuple[str, Any]]) -> Iterable[str]:
    for name, value in settings:
        yield f'<tr><th scope="row">{escape(cut(name, 200))}</th><td>{_value(value)}</td></tr>\n'
