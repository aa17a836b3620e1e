"""Chat templates: what they give, what they are refused, and that they give the same as transformers."""

import json

import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.chat import MAX_TEMPLATE_CHARACTERS, render_chat
from jaxlm.text.tokenizer import load_tokenizer

from .small_directories import write_llama3

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The forms in which these models' directories have them.
TEMPLATES = {
    "chatml": CHATML,
    "llama-2": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
{% set system_message = false %}{% endif %}{% for message in loop_messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if loop.index0 == 0 and system_message != false %}\
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama-3": """{% set loop_messages = messages %}{% for message in loop_messages %}\
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + \
'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}""",
    "llama-3.1": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim }}
        {{- '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}\
{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
{{ message['content'] + eos_token}}{% else %}{{ '(' ~ message.role ~ loop.index ~ ')' }}{% endif %}{% endfor %}""",
    "gemma": """{{ bos_token }}{% for message in messages %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{% generation %}{{ '<|assistant|>\n'  + message['content'] + eos_token }}{% endgeneration %}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "qwen": """{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" %}
        {%- set ns.multi_step = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- macro show(text, role='none') %}<{{ role }}>{{ text }}{% endmacro %}
{%- for message in messages %}
    {%- if loop.index0 > ns.last %}{% continue %}{% endif %}
    {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
    {{- show(content, role=message.role) -}}
    {{- (['a', 'b'] + [message.role])|join('-') ~ {'x': (1, 2.5)} }}
{%- endfor %}
{{- messages | map(attribute='role') | list | unique | join(', ') | replace('user', 'USER') | upper }}
{{- messages | selectattr('role', 'equalto', 'user') | list | length }}
{{- [3, 1, 2] | sort | last }}{{ '%' }}{{ 7 % 4 * 2 ** 3 }}{{ none }}{{ true }}""",
}
CHAT = [
    {"role": "system", "content": "  You are <b>brief</b> & kind.\n"},
    {"role": "user", "content": "Caf\u00e9 \u660e\u6708? </think>\n\nsecond"},
    {"role": "assistant", "content": "Yes. "},
    {"role": "user", "content": "Why {{ not }}?"},
]
TOOL_CHAT = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"caf\u00e9": [1, "<"]}}}]},
    {"role": "tool", "content": "sunny"},
]
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_same_as_transformers(name):
    pytest.importorskip("torch")
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    conversations = [CHAT, CHAT[1:], CHAT[:2]]
    more = [{}, {"tools": [{"name": "f", "nested": {"a": [1, None]}}]}]
    if name == "llama-3.1":
        conversations.append(TOOL_CHAT)
    for messages in conversations:
        for begun in (False, True):
            for variables in more:
                values = {**NAMES, **variables}
                expected, _ = utilities.render_jinja_template(
                    [messages], chat_template=TEMPLATES[name], add_generation_prompt=begun, **values
                )
                assert render_chat(TEMPLATES[name], messages, begun, **values) == expected[0]


def test_what_chatml_is():
    text = render_chat(CHATML, CHAT[1:3], add_generation_prompt=True)
    assert text == (
        "<|im_start|>user\nCaf\u00e9 \u660e\u6708? </think>\n\nsecond<|im_end|>\n"
        "<|im_start|>assistant\nYes. <|im_end|>\n<|im_start|>assistant\n"
    )
    # As in transformers: a value of None is as if it were not there.
    assert render_chat("{{ 'name' in messages[0] }}", [{"role": "user", "name": None}]) == "False"


def test_templates_of_a_directory(tmp_path):
    several = [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": "{{ tools|length }} tools"}]
    tokenizer = load_tokenizer(write_llama3(tmp_path / "list", chat_template=several))
    assert tokenizer.apply_chat_template(CHAT[:1]).startswith("<|im_start|>system")
    assert tokenizer.apply_chat_template(CHAT, tools=[{"name": "f"}]) == "1 tools"
    assert tokenizer.apply_chat_template(CHAT, template="tool_use", tools=[]) == "0 tools"
    assert (
        tokenizer.apply_chat_template(CHAT, template="{{ bos_token }}{{ eos_token }}") == "<|begin_of_text|><|eot_id|>"
    )
    with pytest.raises(UsageError, match="no chat template 'rag' here; known: default, tool_use"):
        tokenizer.apply_chat_template(CHAT, template="rag")
    folder = write_llama3(tmp_path / "file", chat_template="older")
    (folder / "chat_template.jinja").write_text("{{ messages[0].role }}\u2192")
    assert load_tokenizer(folder).apply_chat_template(CHAT) == "system\u2192"
    for none in (load_tokenizer(write_llama3(tmp_path / "none")), ByteTokenizer()):
        with pytest.raises(UsageError, match="this tokenizer has no chat template"):
            none.apply_chat_template(CHAT)
    broken = write_llama3(tmp_path / "broken", chat_template=[{"name": "default"}])
    with pytest.raises(DataError, match=r"chat_template has .* not a name and a template"):
        load_tokenizer(broken)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "the conversation is empty"),
        ("Hello", "the messages are of type str, not a list"),
        ({"role": "user"}, "the messages are of type dict, not a list"),
        (["Hello"], "message 0 is of type str, not an object"),
        ([{"role": "user", "content": object()}], "message 0 holds something that is not JSON"),
        ([{"role": "user"}], "refuses: 'dict object' has no attribute 'content'"),
        ([{"role": "user", "content": ["a"]}], "cannot be applied to these messages: TypeError"),
    ],
)
def test_bad_messages(messages, message):
    with pytest.raises(UsageError, match=message):
        render_chat(CHATML, messages)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", r"refuses \(line 1\): Expected an expression"),
        ("{{ 'a'|nonsense }}", "No filter named 'nonsense'"),
        ("{{ raise_exception('only users here') }}", "refuses: only users here$"),
        ("{{ messages[9].content.x }}", "has no element 9"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("x" * (MAX_TEMPLATE_CHARACTERS + 1), "has 200001 characters; one may have 200000"),
    ],
)
def test_bad_templates(template, message):
    with pytest.raises(UsageError, match=message):
        render_chat(template, CHAT)


def test_a_long_conversation_is_fine():
    messages = [{"role": "user", "content": "word " * 2000}] * 500
    assert len(render_chat(CHATML, messages)) > 5_000_000
    assert json.loads(render_chat("{{ messages|tojson }}", messages)) == messages
