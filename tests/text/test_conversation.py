"""Conversations as ids: what the assistant says is told apart, and a prompt is the beginning of what is trained on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.errors import UsageError
from jaxlm.text.character import CharacterTokenizer
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.conversation import encode_conversation
from jaxlm.text.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer(
    TokenizerConfig("sentencepiece", vocab_size=276), ["user: what is the answer?\nassistant: it is this one\n"] * 20
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "what is it?"},
    {"role": "assistant", "content": "this one"},
    {"role": "user", "content": "and the answer?"},
    {"role": "assistant", "content": "it is"},
]
CHATML = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def said(tokenizer, ids, answered):
    """The texts of the assistant's stretches."""
    texts, current = [], []
    for token, own in [*zip(ids, answered, strict=True), (0, False)]:
        if own:
            current.append(token)
        elif current:
            texts.append(tokenizer.decode(current))
            current = []
    return texts


def test_what_the_assistant_says_is_told_apart():
    ids, answered = encode_conversation(TOKENIZER, TALK)
    assert said(TOKENIZER, ids, answered) == [" this one\n", " it is\n"]
    assert [ids[at] for at in range(len(ids)) if answered[at] and not answered[min(at + 1, len(ids) - 1)]] == [
        TOKENIZER.eos_id
    ]
    assert ids[-1] == TOKENIZER.eos_id
    assert answered[-1]


def test_a_template_in_jinja_ends_answers_itself():
    ids, answered = encode_conversation(TOKENIZER, TALK, CHATML)
    assert said(TOKENIZER, ids, answered) == ["this one<|end|>\n", "it is<|end|>\n"]
    assert TOKENIZER.eos_id not in ids


message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": st.text("abc \né中", min_size=1, max_size=12)}
)


@given(st.lists(message, min_size=1, max_size=5), st.sampled_from(["", CHATML]))
def test_the_prompt_of_an_answer_is_the_beginning_of_what_is_trained_on(messages, template):
    prompt, heard = encode_conversation(TOKENIZER, messages, template, reply=True)
    whole, answered = encode_conversation(TOKENIZER, [*messages, {"role": "assistant", "content": "it is"}], template)
    assert whole[: len(prompt)] == prompt
    assert answered[: len(prompt)] == heard
    assert all(answered[len(prompt) :])
    assert len(whole) == len(answered)


def test_what_cannot_be_is_named():
    with pytest.raises(UsageError, match="the tokenizer has no end id"):
        encode_conversation(CharacterTokenizer.train(["any text: \n?"]), TALK)
    rewriting = "{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(UsageError, match="rewrites earlier messages"):
        encode_conversation(TOKENIZER, TALK, rewriting)
