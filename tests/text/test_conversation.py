"""Conversations as ids: those of the whole text, and what the assistant says is told apart."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import UsageError
from jaxlm.text.character import CharacterTokenizer
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.conversation import (
    UnfitConversationError,
    encode_conversation,
    is_learned,
    render_conversation,
)
from jaxlm.text.tokenizer import load_tokenizer, train_tokenizer

from .small_directories import WRITERS, train_pieces

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
    assert ids.count(TOKENIZER.eos_id) == 2
    assert answered[-1]


def test_a_template_in_jinja_ends_answers_itself():
    ids, answered = encode_conversation(TOKENIZER, TALK, CHATML)
    assert said(TOKENIZER, ids, answered) == ["this one<|end|>\n", "it is<|end|>\n"]
    assert TOKENIZER.eos_id not in ids


message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": st.text("abc \né中", min_size=1, max_size=12)}
)


@settings(max_examples=40)
@given(st.lists(message, min_size=1, max_size=5), st.sampled_from(["", CHATML]))
def test_what_is_learned_is_what_the_assistant_says(messages, template):
    whole, answered = encode_conversation(TOKENIZER, messages, template)
    shown = "".join(f"<|{one['role']}|>{one['content']}<|end|>\n" for one in messages)
    if template:
        assert whole == TOKENIZER.encode_prompt(shown), "the whole text's"
    rendered = render_conversation(TOKENIZER, messages, template, learned=())
    assert not rendered.answers
    learned = [number for number, one in enumerate(messages) if is_learned(one)]
    assert learned == [n for n, one in enumerate(messages) if one["role"] == "assistant" and one["content"].strip()]
    spans = render_conversation(TOKENIZER, messages, template, learned=learned).answers
    assert list(spans) == learned
    assert any(answered) == bool(learned)
    assert len(whole) == len(answered)
    prompt, heard = encode_conversation(TOKENIZER, messages, template, reply=True, learned=())
    assert not any(heard)
    if template:
        assert prompt == TOKENIZER.encode_prompt(f"{shown}<|assistant|>")


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A sentencepiece tokenizer as Mistral's, with a template of its own that names no special token."""
    folder = tmp_path_factory.mktemp("pieces")
    lines = ["<|user|>\n", "<|assistant|>\n", "The cat sleeps.", "Where is it?", "The mat."] * 9
    model = train_pieces(
        lines,
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )
    (folder / "tokenizer.model").write_bytes(model)
    template = (
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    named = {"tokenizer_class": "LlamaTokenizer", "chat_template": template, "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return load_tokenizer(folder)


CATS = [
    {"role": "user", "content": "Where is it?"},
    {"role": "assistant", "content": "The cat sleeps."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "The mat."},
]


def test_an_answer_has_the_tokens_of_the_whole_text(pieces):
    ids, answered = encode_conversation(pieces, CATS)
    assert ids == pieces.encode(pieces.apply_chat_template(CATS))
    names = [pieces.token_name(token) for token, own in zip(ids, answered, strict=True) if own]
    assert names[0] == "The", "and not as at the beginning of a text"
    assert "".join(names).replace("\u2581", " ") == "The cat sleeps.</s><0x0A>The mat.</s><0x0A>"
    prompt, _ = encode_conversation(pieces, CATS[:1], reply=True)
    assert ids[: len(prompt)] == prompt
    assert not any(answered[: len(prompt)])
    assert answered[len(prompt)]


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "llama3", "t5", "llama", "xlm_roberta"])
def test_conversations_of_every_sort_of_tokenizer(tmp_path, name):
    tokenizer = load_tokenizer(WRITERS[name](tmp_path, chat_template=CHATML))
    ids, answered = encode_conversation(tokenizer, TALK)
    text = tokenizer.apply_chat_template(TALK)
    assert ids == tokenizer.encode(text)
    _, spans = tokenizer.encode_with_offsets(text)
    shown = [text[start:end] for (start, end), own in zip(spans, answered, strict=True) if own]
    assert "".join(shown).strip().replace(" ", "") == "thisone<|end|>\nitis<|end|>\n".strip()
    plain, own = encode_conversation(tokenizer, TALK, "plain")
    assert plain.count(tokenizer.eos_id) == 2
    assert [token for token, mine in zip(plain, own, strict=True) if mine and token == tokenizer.eos_id]


def test_the_same_ids_as_transformers(pieces, tmp_path):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = WRITERS["llama3"](tmp_path, chat_template="{{ bos_token }}" + CHATML)
    ours, theirs = load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert encode_conversation(ours, TALK)[0] == theirs.apply_chat_template(TALK)["input_ids"]
    prompt, _ = encode_conversation(ours, TALK[:2], reply=True)
    assert prompt == theirs.apply_chat_template(TALK[:2], add_generation_prompt=True)["input_ids"]


def test_answers_that_are_empty_or_weigh_nothing_are_not_learned():
    talk = [
        {"role": "user", "content": "what?"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "is it?"},
        {"role": "assistant", "content": "this", "weight": 0},
        {"role": "user", "content": "it?"},
        {"role": "assistant", "content": "it is", "weight": 1},
    ]
    for template in ("", CHATML):
        ids, answered = encode_conversation(TOKENIZER, talk, template)
        assert [text.strip() for text in said(TOKENIZER, ids, answered)] in (["it is"], ["it is<|end|>"])
        bare = [{key: value for key, value in one.items() if key != "weight"} for one in talk]
        assert ids == encode_conversation(TOKENIZER, bare, template)[0], "the template sees no weight"


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALLING = [
    {"role": "user", "content": "is it?"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"a": 1}}}]},
    {"role": "tool", "content": "7"},
    {"role": "assistant", "content": "it is"},
]
WITH_TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}.{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_calls_of_tools_are_learned():
    ids, answered = encode_conversation(TOKENIZER, CALLING, WITH_TOOLS, tools=TOOLS)
    assert said(TOKENIZER, ids, answered) == ['weather{"a": 1}.', "it is."]
    assert TOKENIZER.decode(ids).startswith('[{"type": "function"')


@pytest.mark.parametrize(
    ("template", "tools", "problem"),
    [
        ("plain", (), "the plain chat template has no tools and no calls"),
        (CHATML, TOOLS, "the chat template leaves out the tools"),
        (CHATML, (), "the chat template leaves out calls of tools"),
        ("{{ raise_exception('no tools here') }}", (), "no tools here"),
        ("{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}", (), "rewrites earlier messages"),
    ],
)
def test_conversations_that_a_template_cannot_write(template, tools, problem):
    with pytest.raises(UnfitConversationError, match=problem):
        encode_conversation(TOKENIZER, CALLING, template, tools=tools)


def test_a_prompt_that_goes_on_otherwise_than_the_answer():
    """Some templates open a thought in the prompt that an answer of the past does not have."""
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant><think>{% endif %}"
    )
    ids, answered = encode_conversation(TOKENIZER, TALK[1:3], template)
    assert said(TOKENIZER, ids, answered) == ["this one"]


def test_what_cannot_be_is_named():
    with pytest.raises(UsageError, match="the tokenizer has no end id"):
        encode_conversation(CharacterTokenizer.train(["any text: \n?"]), TALK)
