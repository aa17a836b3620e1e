"""Conversations as people write them down: lists of messages, or an instruction and its answer.

Read are messages with role and content as OpenAI and `transformers` have them, with calls of tools; from and value as
ShareGPT has them; and the two forms of LLaMA-Factory: `conversations` with `system` and `tools` beside them, and
`instruction`, `input`, `output` with `system` and `history`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]
# What roles are called in the wild.
ROLE_NAMES = {
    **{"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"},
    **{"developer": "system", "observation": "tool", "function": "tool", "function_response": "tool"},
}
ROLES = ("system", "user", "assistant", "tool")
CALL = "function_call"  # LLaMA-Factory's role of an assistant that calls a tool
# What a message may have besides role and content, for the template to see.
_TEXTS = ("name", "tool_call_id", "reasoning_content", "thinking")


class _BadConversationError(Exception):
    """What is wrong, in a sentence."""


def messages_of(given: Any) -> tuple[Message, ...] | str:
    """Returns messages with role and content, or what is wrong with them.

    A message may have `tool_calls`, whose arguments become objects, and a `weight` of 0 or 1: 0 is not learned.

    Args:
      given: a list of {"role", "content"} or {"from", "value"}, or a text, which the user says.
    """
    try:
        return _messages(given)
    except _BadConversationError as error:
        return str(error)


def conversation_of(values: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any] | str:
    """Returns the fields of an example of chat: messages that end with one that is learned; or what is wrong.

    Args:
      values: "text", messages or an instruction; "pair", what the instruction is about; "label", the answer.
      fields: the whole record, which may have system, history and tools.
    """
    try:
        messages = _with_system(_asked(values, fields), fields)
        answer = values.get("label")
        if isinstance(answer, str) and answer.strip() and messages[-1]["role"] != "assistant":
            messages = (*messages, {"role": "assistant", "content": answer})
        while messages and not _says_something(messages[-1]):
            messages = messages[:-1]
        if not messages:
            return "there is no answer of the assistant"
        return {"messages": messages} | _tools(fields)
    except _BadConversationError as error:
        return str(error)


def preference_of(values: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any] | str:
    """Returns the fields of an example of preference: messages, and two answers to them; or what is wrong.

    Args:
      values: "label" and "pair", the answer that is preferred and the other, each a text, a message, or messages that
        end with it; "text", what they answer, a text or messages. Messages before the answers are what is answered, and
        the text must agree with them: be the same, or what the user says last.
      fields: the whole record, which may have system, history, tools, and an input to an instruction.
    """
    try:
        answers, before = [], []
        for role in ("label", "pair"):
            answer, messages = _answer(values.get(role))
            answers.append(answer)
            before += [messages] if messages else []
        if len(before) == 2 and before[0] != before[1]:
            return "the two answers do not answer the same messages"
        prompt = None if values.get("text") is None else _prompt(values, fields)
        if before and prompt and not _agree(prompt, before[0]):
            return "the prompt is not what the messages before the two answers say"
        if not before and not prompt:
            return "what is answered: there are no messages"
        messages = _with_system(before[0] if before else prompt or (), fields)
        if not all(answer.strip() for answer in answers):
            return "an answer is empty"
        if answers[0] == answers[1]:
            return "both answers are the same"
        return {"messages": messages, "chosen": answers[0], "rejected": answers[1]} | _tools(fields)
    except _BadConversationError as error:
        return str(error)


def _messages(given: Any) -> tuple[Message, ...]:
    if isinstance(given, str):
        if not given.strip():
            raise _BadConversationError("the text is empty")
        return ({"role": "user", "content": given},)
    if not isinstance(given, Sequence) or not given:
        raise _BadConversationError("there are no messages")
    return tuple(_message(one, f"message {number}") for number, one in enumerate(given))


def _message(given: Any, place: str) -> Message:
    if not isinstance(given, Mapping):
        raise _BadConversationError(f"{place} is no object with role and content")
    role, content = given.get("role", given.get("from")), given.get("content", given.get("value"))
    role = str(role).lower()
    role = ROLE_NAMES.get(role, role)
    calls = given.get("tool_calls") or ()
    if role == CALL:
        role, calls, content = "assistant", content, ""
    if role not in ROLES:
        raise _BadConversationError(f"{place} has the role {role[:40]!r}, none of {', '.join(ROLES)}")
    if isinstance(content, list):
        content = _joined_parts(content, place)
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise _BadConversationError(f"{place} has no text as its content")
    message: Message = {"role": role, "content": content}
    message |= {name: given[name] for name in _TEXTS if isinstance(given.get(name), str)}
    if calls:
        if role != "assistant":
            raise _BadConversationError(f"{place} is the {role}'s and calls a tool, which the assistant alone does")
        message["tool_calls"] = _calls(calls, place)
    weight = given.get("weight")
    if weight is not None:
        if isinstance(weight, bool) or weight not in (0, 1):
            raise _BadConversationError(f"{place} has the weight {str(weight)[:40]!r}; it may be 0, not learned, or 1")
        message["weight"] = int(weight)
    return message


def _joined_parts(parts: Sequence[Any], place: str) -> str:
    """The text of a content in parts, as OpenAI has it; another sort of part, such as an image, cannot be read."""
    texts = []
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            sort = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise _BadConversationError(f"{place} has a part of the type {str(sort)[:40]!r}; only text can be read")
        texts.append(part["text"])
    return "".join(texts)


def _calls(given: Any, place: str) -> list[dict[str, Any]]:
    """Calls of tools as chat templates expect them: each a function with its name, and arguments as an object."""
    given = _parsed(given, f"{place} has calls of tools that are not JSON")
    calls = []
    for call in [given] if isinstance(given, Mapping) else given if isinstance(given, Sequence) else ():
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            break
        arguments = _parsed(function.get("arguments") or {}, f"{place} has arguments of a call that are not JSON")
        if not isinstance(arguments, Mapping):
            break
        own = {"type": "function", "function": {"name": function["name"], "arguments": dict(arguments)}}
        calls.append(own | ({"id": call["id"]} if isinstance(call.get("id"), str) else {}))
    else:
        if calls:
            return calls
    raise _BadConversationError(f"{place} has a call of a tool without a function's name and arguments")


def _tools(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The tools of a record, as chat templates expect them; nothing where it has none."""
    given = _parsed(_extra(fields, "tools") or (), "the tools are not JSON")
    if not isinstance(given, Mapping | Sequence) or isinstance(given, str):
        raise _BadConversationError("the tools are not a list")
    tools = []
    for tool in [given] if isinstance(given, Mapping) else given:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise _BadConversationError("a tool has no function with a name")
        tools.append({"type": "function", "function": dict(function)})
    return {"tools": tuple(tools)} if tools else {}


def _parsed(given: Any, problem: str) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given) if given.strip() else ()
    except (ValueError, RecursionError):
        raise _BadConversationError(problem) from None


def _says_something(message: Message) -> bool:
    """Whether there is something of the assistant's to learn in a message."""
    said = message["content"].strip() or message.get("tool_calls")
    return message["role"] == "assistant" and bool(said) and message.get("weight") != 0


def _extra(fields: Mapping[str, Any], name: str) -> Any:
    return next((value for key, value in fields.items() if key.lower() == name), None)


def _asked(values: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages that are answered: an instruction comes with what it is about, and after its history."""
    messages = _messages(values["text"])
    about = values.get("pair")
    if about is not None and not isinstance(about, str):
        raise _BadConversationError(f"what the instruction is about is a {type(about).__name__}, not a text")
    if about:
        last = messages[-1]
        messages = (*messages[:-1], {**last, "content": f"{last['content']}\n\n{about}"})
    earlier: list[Message] = []
    history = _extra(fields, "history") or ()
    if isinstance(history, str) or not isinstance(history, Sequence):
        raise _BadConversationError("the history is not a list")
    for turn in history:
        if isinstance(turn, str) or not isinstance(turn, Sequence) or len(turn) != 2:
            raise _BadConversationError("the history holds something else than pairs of a question and its answer")
        for role, content in zip(("user", "assistant"), turn, strict=True):
            if not isinstance(content, str):
                raise _BadConversationError("the history holds something that is no text")
            earlier.append({"role": role, "content": content})
    return (*earlier, *messages)


def _prompt(values: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[Message, ...]:
    about = _extra(fields, "input") if _extra(fields, "instruction") is values["text"] else None
    try:
        return _asked({"text": values["text"], "pair": about}, fields)
    except _BadConversationError as error:
        raise _BadConversationError(f"what is answered: {error}") from None


def _with_system(messages: tuple[Message, ...], fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages after the system's of a column of that name."""
    system = _extra(fields, "system")
    if system is None or (isinstance(system, str) and not system.strip()):
        return messages
    if not isinstance(system, str):
        raise _BadConversationError(f"the system's message is a {type(system).__name__}, not a text")
    if messages and messages[0]["role"] == "system":
        if messages[0]["content"].strip() != system.strip():
            raise _BadConversationError("the messages begin with another message of the system's than its column says")
        return messages
    return ({"role": "system", "content": system}, *messages)


def _answer(given: Any) -> tuple[str, tuple[Message, ...]]:
    """An answer of a preference, and the messages before it, if they are there."""
    if isinstance(given, str):
        return given, ()
    problem = "an answer is neither a text nor messages that end with the assistant's"
    try:
        messages = _messages([given] if isinstance(given, Mapping) else given)
    except _BadConversationError as error:
        raise _BadConversationError(f"{problem}: {error}") from None
    if messages[-1]["role"] != "assistant":
        raise _BadConversationError(problem)
    if messages[-1].get("tool_calls"):
        raise _BadConversationError("an answer calls a tool, which preferences cannot learn")
    return messages[-1]["content"], messages[:-1]


def _agree(prompt: Sequence[Message], before: Sequence[Message]) -> bool:
    """Whether a prompt is the messages that are answered, or the end of them: what came before may be left out."""
    size = len(prompt)
    return size <= len(before) and [_bare(one) for one in prompt] == [_bare(one) for one in before[-size:]]


def _bare(message: Message) -> tuple[str, str]:
    return message["role"], message["content"].strip()
