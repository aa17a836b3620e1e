"""Conversations as ids, with what the assistant says told apart: what a model is trained on, and answers from.

A conversation is encoded piece by piece, divided where the assistant begins and ends: an answer then begins with the
same ids in training as when it is generated after its prompt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.text.base import Tokenizer
from jaxlm.text.chat import render_chat

ASSISTANT = "assistant"
PLAIN = "plain"  # the template of tokenizers without one: a line for each message, and the end id after an answer

Message = Mapping[str, Any]


def encode_conversation(
    tokenizer: Tokenizer, messages: Sequence[Message], template: str = "", reply: bool = False
) -> tuple[list[int], list[bool]]:
    """Returns the ids of a conversation, and for each whether the assistant says it, the end of an answer included.

    Args:
      tokenizer: of the model.
      messages: each with role and content.
      template: the name of a chat template, or one in Jinja; "plain" is ours, and empty the tokenizer's own, or ours
        where it has none.
      reply: whether the beginning of the assistant's next message follows.

    Raises:
      UsageError: the template refuses the messages, or rewrites what was said before when more is said; or a tokenizer
        without an end id.
      DataError: a text that the tokenizer cannot represent.
    """
    plain = template == PLAIN or (not template and not getattr(tokenizer, "chat_templates", None))
    if plain and tokenizer.eos_id is None:
        raise UsageError(
            "the tokenizer has no end id, which ends every answer: use another kind, such as sentencepiece"
        )

    def rendered(count: int, begins: bool) -> str:
        if plain:
            lines = "".join(f"{message['role']}: {message['content']}\n" for message in messages[:count])
            return lines + (f"{ASSISTANT}:" if begins else "")
        if "{" in template and not hasattr(tokenizer, "chat_templates"):
            return render_chat(template, messages[:count], begins)
        named = {"template": template} if template else {}
        return tokenizer.apply_chat_template(messages[:count], begins, **named)

    ids: list[int] = []
    said: list[bool] = []
    done = ""

    def add(whole: str, answer: bool) -> None:
        nonlocal done
        if not whole.startswith(done):
            raise UsageError(
                "the chat template rewrites earlier messages when more follow: training needs one that does not"
            )
        piece = whole[len(done) :]
        new = tokenizer.encode(piece) if ids else tokenizer.encode_prompt(piece)
        if answer and plain:
            assert tokenizer.eos_id is not None
            new = [*new, tokenizer.eos_id]
        ids.extend(new)
        said.extend([answer] * len(new))
        done = whole

    for index, message in enumerate(messages):
        if message.get("role") == ASSISTANT:
            # What stands before an answer, up to where the model takes over.
            before = rendered(index, True) if index else ""
            whole = rendered(index + 1, False)
            if index and whole.startswith(before):
                add(before, answer=False)
            add(whole, answer=True)
    if reply:
        add(rendered(len(messages), True), answer=False)
    elif not messages or messages[-1].get("role") != ASSISTANT:
        add(rendered(len(messages), False), answer=False)
    return ids, said
