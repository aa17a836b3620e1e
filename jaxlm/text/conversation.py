"""Conversations as ids, with what the assistant says told apart: what a model is trained on, and answers from.

A conversation is rendered as a whole and encoded as a whole, so its ids are those of the reference. Where an answer
begins and ends in the text is known from renderings of its beginnings; which tokens are its own, from their characters.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.text.base import Tokenizer
from jaxlm.text.chat import render_chat

ASSISTANT = "assistant"
PLAIN = "plain"  # the template of tokenizers without one: a line for each message, and the end id after an answer
WEIGHT = "weight"  # of a message: 0 where it is not learned

Message = Mapping[str, Any]


class UnfitConversationError(UsageError):
    """The chat template cannot write one conversation; another it may."""


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation as text.

    Attributes:
      text: all of it.
      answers: by the number of a message of the assistant's, its characters [start, end), its end mark included.
      ends: where the end id stands that the tokenizer does not read in a text, after so many characters.
    """

    text: str
    answers: Mapping[int, tuple[int, int]]
    ends: tuple[int, ...] = ()


def is_learned(message: Message) -> bool:
    """Whether a message is learned: the assistant's, with a text or a call, and no `weight` of 0."""
    said = message.get("content") or message.get("tool_calls")
    return message.get("role") == ASSISTANT and bool(said and str(said).strip()) and message.get(WEIGHT) != 0


def encode_conversation(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    template: str = "",
    reply: bool = False,
    tools: Sequence[Mapping[str, Any]] = (),
    learned: Collection[int] | None = None,
) -> tuple[list[int], list[bool]]:
    """Returns the ids of a conversation, and for each whether it is of an answer that is learned, its end included.

    Args:
      tokenizer: of the model.
      messages: each with role and content, maybe tool_calls, maybe weight (see `is_learned`).
      template: the name of a chat template, or one in Jinja; "plain" is ours, and empty the tokenizer's own, or ours
        where it has none.
      reply: whether the beginning of the assistant's next message follows.
      tools: what the assistant may call.
      learned: the numbers of the messages that are; none takes those of `is_learned`.

    Raises:
      UnfitConversationError: see `render_conversation`.
      UsageError: a tokenizer without an end id.
      DataError: a text that the tokenizer cannot represent.
    """
    if learned is None:
        learned = [number for number, message in enumerate(messages) if is_learned(message)]
    rendered = render_conversation(tokenizer, messages, template, reply, tools, learned)
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    start = 0
    for number, end in enumerate((*rendered.ends, len(rendered.text))):
        own, places = tokenizer.encode_with_offsets(rendered.text[start:end])
        ids += own
        spans += [(start + first, start + last) for first, last in places]
        if number < len(rendered.ends):
            assert tokenizer.eos_id is not None
            ids.append(tokenizer.eos_id)
            spans.append((end - 1, end))  # it belongs to the answer that it ends
        start = end
    if not _writes_all(tokenizer, template):
        begun = tokenizer.with_begin(ids)
        spans = [(0, 0)] * (len(begun) - len(ids)) + spans
        ids = begun
    answers = sorted(rendered.answers.values())
    said, at = [], 0
    for start, end in spans:
        while at < len(answers) and answers[at][1] <= start:
            at += 1
        # A token of no characters belongs to what begins there.
        said.append(at < len(answers) and max(end, start + 1) > answers[at][0])
    return ids, said


def render_conversation(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    template: str = "",
    reply: bool = False,
    tools: Sequence[Mapping[str, Any]] = (),
    learned: Collection[int] = (),
) -> RenderedConversation:
    """Returns a conversation as text, and where the messages `learned` are in it; see `encode_conversation`.

    Raises:
      UnfitConversationError: the template refuses the messages, leaves out a tool or a call, or rewrites what was said
        before when more is said.
      UsageError: a tokenizer without an end id.
    """
    shown = [{name: value for name, value in message.items() if name != WEIGHT} for message in messages]
    if _is_plain(tokenizer, template):
        return _plain(tokenizer, shown, reply, tools, learned)

    def rendered(count: int, begins: bool, tools: Sequence[Mapping[str, Any]] = tools) -> str:
        given = {"tools": list(tools)} if tools else {}
        try:
            if "{" in template and not hasattr(tokenizer, "chat_templates"):
                return render_chat(template, shown[:count], begins, **given)
            named = {"template": template} if template else {}
            return tokenizer.apply_chat_template(shown[:count], begins, **named, **given)
        except UsageError as error:
            raise UnfitConversationError(str(error)) from None

    whole = rendered(len(shown), reply)
    if tools and whole == rendered(len(shown), reply, tools=()):
        raise UnfitConversationError("the chat template leaves out the tools: choose one that knows them")
    answers = {}
    for number in sorted(learned):
        through = whole if number == len(shown) - 1 and not reply else rendered(number + 1, False)
        # What stands before an answer, up to where the model takes over; of the first message nothing is known.
        opened = rendered(number, True) if number else ""
        if not through.startswith(opened):
            before = rendered(number, False)
            opened = _shared_beginning(opened, through) if through.startswith(before) else before
        if not (whole.startswith(through) and through.startswith(opened)):
            raise UnfitConversationError(
                "the chat template rewrites earlier messages when more follow: training needs one that does not"
            )
        answers[number] = (len(opened), len(through))
    for number, message in enumerate(shown):
        start, end = answers.get(number, (0, len(whole)))
        for call in message.get("tool_calls") or ():
            if call["function"]["name"] not in whole[start:end]:
                raise UnfitConversationError("the chat template leaves out calls of tools: choose one that knows them")
    return RenderedConversation(whole, answers)


def _shared_beginning(one: str, other: str) -> str:
    size = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:size]


def _is_plain(tokenizer: Tokenizer, template: str) -> bool:
    return template == PLAIN or (not template and not getattr(tokenizer, "chat_templates", None))


def _writes_all(tokenizer: Tokenizer, template: str) -> bool:
    """Whether the rendered text is all that there is: a template can write the begin id of a Hugging Face directory."""
    return hasattr(tokenizer, "chat_templates") and not _is_plain(tokenizer, template)


def _plain(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    reply: bool,
    tools: Sequence[Mapping[str, Any]],
    learned: Collection[int],
) -> RenderedConversation:
    if tokenizer.eos_id is None:
        raise UsageError(
            "the tokenizer has no end id, which ends every answer: use another kind, such as sentencepiece"
        )
    if tools or any(message.get("tool_calls") for message in messages):
        raise UnfitConversationError(
            "the plain chat template has no tools and no calls: name one by task.chat_template"
        )
    name = tokenizer.token_name(tokenizer.eos_id)
    written = name if name and tokenizer.encode(name) == [tokenizer.eos_id] else ""
    text, answers, ends = "", {}, []
    for number, message in enumerate(messages):
        text += f"{message['role']}:"
        start = len(text)
        text += f" {message['content']}\n"
        if message["role"] == ASSISTANT:
            text += written
            ends += [] if written else [len(text)]
            if number in learned:
                answers[number] = (start, len(text))
    return RenderedConversation(text + (f"{ASSISTANT}:" if reply else ""), answers, tuple(ends))
