"""Conversations as people write them down: lists of messages, or an instruction and its answer."""

from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, str]
# What roles are called in the wild.
ROLE_NAMES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}
ROLES = ("system", "user", "assistant", "tool")


def messages_of(given: Any) -> tuple[Message, ...] | str:
    """Returns messages with role and content, or what is wrong with them.

    Args:
      given: a list of {"role", "content"} or {"from", "value"}, or a text, which the user says.
    """
    if isinstance(given, str):
        return ({"role": "user", "content": given},) if given.strip() else "the text is empty"
    if not isinstance(given, Sequence) or not given:
        return "there are no messages"
    messages = []
    for number, one in enumerate(given):
        if not isinstance(one, Mapping):
            return f"message {number} is no object with role and content"
        role, content = one.get("role", one.get("from")), one.get("content", one.get("value"))
        role = ROLE_NAMES.get(str(role).lower(), str(role).lower())
        if role not in ROLES:
            return f"message {number} has the role {role[:40]!r}, none of {', '.join(ROLES)}"
        if not isinstance(content, str):
            return f"message {number} has no text as its content"
        messages.append({"role": role, "content": content})
    return tuple(messages)


def conversation_of(values: Mapping[str, Any]) -> dict[str, Any] | str:
    """Returns the fields of an example of chat: messages that end with the assistant's; or what is wrong.

    Args:
      values: "text", messages or an instruction; "pair", what the instruction is about; "label", the answer.
    """
    messages = messages_of(values["text"])
    if isinstance(messages, str):
        return messages
    if values.get("pair"):
        last = messages[-1]
        messages = (*messages[:-1], {**last, "content": f"{last['content']}\n\n{values['pair']}"})
    answer = values.get("label")
    if isinstance(answer, str) and answer.strip():
        messages = (*messages, {"role": "assistant", "content": answer})
    while messages and messages[-1]["role"] != "assistant":
        messages = messages[:-1]
    if not any(message["content"].strip() for message in messages if message["role"] == "assistant"):
        return "there is no answer of the assistant"
    return {"messages": messages}


def preference_of(values: Mapping[str, Any]) -> dict[str, Any] | str:
    """Returns the fields of an example of preference: messages, and two answers to them; or what is wrong.

    Args:
      values: "label" and "pair", the answer that is preferred and the other, each a text or messages that end with it;
        "text", what they answer, a text or messages; without it, the messages that both answers share.
    """
    answers, before = [], []
    for role in ("label", "pair"):
        given = values.get(role)
        if isinstance(given, str):
            answers.append(given)
            continue
        messages = messages_of(given)
        if isinstance(messages, str) or messages[-1]["role"] != "assistant":
            return "an answer is neither a text nor messages that end with the assistant's"
        answers.append(messages[-1]["content"])
        before.append(messages[:-1])
    prompt = values.get("text") or (before[0] if before else None)
    messages = messages_of(prompt)
    if isinstance(messages, str):
        return f"what is answered: {messages}"
    if len(before) == 2 and before[0] != before[1]:
        return "the two answers do not answer the same messages"
    if not all(answer.strip() for answer in answers):
        return "an answer is empty"
    if answers[0] == answers[1]:
        return "both answers are the same"
    return {"messages": messages, "chosen": answers[0], "rejected": answers[1]}
