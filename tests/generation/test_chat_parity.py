"""What an assistant answers by our own path of conversations, against transformers on the same directory."""

import json

import pytest

import jaxlm
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.text import stream_from_ids
from jaxlm.text.conversation import encode_conversation

from ..text.small_directories import write_llama3

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    "{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
TALK = [
    {"role": "system", "content": "Answer in a word."},
    {"role": "user", "content": "Shall I compare thee to a summer's day?"},
    {"role": "assistant", "content": "Thou art more lovely."},
    {"role": "user", "content": "\u5e8a\u524d\u660e\u6708\u5149 and often?"},
]


@pytest.mark.slow
def test_the_same_answer(tmp_path):
    folder = write_llama3(tmp_path, chat_template=TEMPLATE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    prompt = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        whole = theirs.generate(prompt, max_new_tokens=24, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    expected = tokenizer.decode(whole[0, prompt.shape[1] :], skip_special_tokens=True)
    ours = jaxlm.load(folder)
    ids, _ = encode_conversation(ours.tokenizer, TALK, reply=True)
    assert ids == prompt[0].tolist()
    options = GenerationConfig(max_new_tokens=24, temperature=0.0)
    pieces = stream_from_ids(ours.generator, ours.tokenizer, [ids], options, 8)
    assert "".join(part for (part,) in pieces) == expected
