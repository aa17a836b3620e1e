"""Instruction tuning: what an assistant says in a conversation, each token from all before it (Ouyang et al. 2022)."""

import json
from collections.abc import Sequence

import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.labelled import EncodedRow, int32
from jaxlm.text.conversation import Message, encode_conversation
from jaxlm.text.tokenizer import Tokenizer


def encode_chat(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, length: int, number: int, example: Example
) -> list[EncodedRow]:
    """Returns the row of a conversation, in which what the assistant says counts; one that is too long loses its end.

    Args:
      config: the task's: chat_template.
      model: whose inputs are made.
      tokenizer: of the model.
      length: the most ids.
      number: of the example in its split.
      example: with messages, maybe tools.

    Raises:
      UnfitConversationError: the chat template cannot write this conversation.
    """
    fields = example.fields
    ids, said = encode_conversation(tokenizer, fields["messages"], config.chat_template, tools=fields.get("tools", ()))
    columns = causal_columns(ids[: length + 1], said[: length + 1])
    return [EncodedRow(number, columns, {}, max(len(ids) - length - 1, 0))]


def causal_columns(ids: Sequence[int], counted: Sequence[bool]) -> dict[str, np.ndarray]:
    """Returns the columns of a text that is read from left to right: each id is the target of the one before it.

    Args:
      ids: of the text.
      counted: for each, whether its prediction counts.
    """
    text = int32(ids)
    return {
        "tokens": text[:-1],
        "targets": text[1:],
        "positions": np.arange(len(text) - 1, dtype=np.int32),
        "loss_weights": np.asarray(counted[1:], np.float32),
    }


def chat_prompt(config: TaskConfig, tokenizer: Tokenizer, example: Example) -> list[int]:
    """Returns the ids that the assistant's last message is generated from: all before it, and its beginning."""
    messages: Sequence[Message] = example.fields["messages"]
    if messages and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    tools = example.fields.get("tools", ())
    ids, _ = encode_conversation(tokenizer, messages, config.chat_template, reply=True, tools=tools, learned=())
    return ids


def answer_text(message: Message) -> str:
    """Returns what a written answer is held against: the text of the assistant's message, or its calls as JSON."""
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return message["content"] or "\n".join(json.dumps(call, ensure_ascii=False) for call in calls)
