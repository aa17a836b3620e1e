"""Conversations as text: the chat template of a tokenizer, rendered in a process of its own.

A chat template is a program in Jinja that came with the model, from strangers. It sees the messages and nothing else:
no files, no Python internals, no clock but `strftime_now`. Its work is bounded too: `jaxlm.text.chat_process`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.text.chat_process import render

MAX_TEMPLATE_CHARACTERS = 200_000
REASONING = ("reasoning_content", "thinking", "reasoning")


def render_chat(
    template: str, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = False, **variables: Any
) -> str:
    """Returns the conversation as the text that `template` makes of it, as transformers' `apply_chat_template` does.

    Args:
      template: a chat template in Jinja.
      messages: at least one object, with "role" and "content" and what else the template asks for. A value of None is
        as if it were not there.
      add_generation_prompt: whether the beginning of the answer follows, for the model to go on with.
      **variables: what else the template sees: `bos_token` and its like, `tools`, `documents`.

    Raises:
      UsageError: the messages are none, the template is not valid or refuses them, or it takes too much time or memory.
    """
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise UsageError(f"the chat template has {len(template)} characters; one may have {MAX_TEMPLATE_CHARACTERS}")
    visible = {"tools": None, "documents": None, **_plain(variables, "the template's variables")}
    visible |= {"messages": _checked_messages(messages), "add_generation_prompt": bool(add_generation_prompt)}
    return render(template, visible)


def _checked_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise UsageError(
            f"the messages are of type {type(messages).__name__}, not a list of objects like "
            f'{{"role": "user", "content": "Hello"}}'
        )
    if not messages:
        raise UsageError("the conversation is empty: give at least one message")
    plain = []
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise UsageError(
                f"message {number} is of type {type(message).__name__}, not an object with role and content"
            )
        own = _plain({key: value for key, value in message.items() if value is not None}, f"message {number}")
        # What the model thought before it answered has several names, and templates read either.
        thought = next((own[name] for name in REASONING if name in own), None)
        plain.append(own if thought is None else {"thinking": thought, **own, REASONING[0]: thought})
    return plain


def _plain(value: Any, place: str) -> Any:
    """Returns a copy of plain JSON values: a template could call the methods of any other object."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{place} holds something that is not JSON: {error}") from None
