"""The evaluation harness on models of ours against its own Hugging Face backend, on the same weights."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import jaxlm
from jaxlm.cli.main import main
from jaxlm.errors import UsageError
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from .slow_cases import slow_after

CHAT = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }};yes\n{% endfor %}"
    "{% if add_generation_prompt %}[me] {% endif %}"
)
STRIPPED = CHAT.replace("m['content']", "m['content'] | trim")
SILENT = CHAT.replace("m['content']", "'...'")

lm_eval = pytest.importorskip("lm_eval")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the harness and its data sets

TASK = """task: colours
dataset_path: json
dataset_kwargs:
  data_files: {folder}/colours.jsonl
output_type: multiple_choice
test_split: train
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - metric: acc
  - metric: acc_norm
"""
QUESTIONS = [
    {"question": f"colour of the {thing}?", "choices": ["blue", "green as grass", "white"], "answer": number % 3}
    for number, thing in enumerate(["sky", "grass", "snow", "sea", "bush", "paper", "jeans"])
]


@pytest.fixture(scope="module", params=slow_after(1, ["gpt2", "llama"]))
def both(request, tmp_path_factory):
    """Ours and theirs, of a tiny model with a tokenizer that it was saved with."""
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from jaxlm.harness import HarnessModel

    from .hub.parity import randomise

    folder = tmp_path_factory.mktemp(request.param)
    own = Tokenizer(models.BPE({**{char: i for i, char in enumerate(pre_tokenizers.ByteLevel.alphabet())}}, []))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = CHAT
    sizes = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id}
    sizes["eos_token_id"] = tokenizer.eos_token_id
    if request.param == "gpt2":
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(**sizes, n_embd=16, n_layer=2, n_head=2, n_positions=64)
        )
    else:
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                **sizes,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
            )
        )
    model = randomise(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=2, device="cpu")
    return folder, HarnessModel(str(folder), batch_size=3), theirs


def requests(*arguments):
    return [SimpleNamespace(args=own) for own in arguments]


def test_log_likelihoods_are_equal(both):
    _, ours, theirs = both
    asked = requests(
        ("The sky is", " blue"),
        ("The sky is ", "blue"),
        ("", "no context"),
        ("é ü 中文", " ñ 🙂"),
        ("a long context " * 9, " end"),
        ("x", "y"),
    )
    for own, (score, greedy) in zip(ours.loglikelihood(asked), theirs.loglikelihood(asked, True), strict=True):
        assert own[0] == pytest.approx(score, rel=1e-6, abs=1e-4)
        assert own[1] == greedy


def test_whole_texts_are_equal(both):
    _, ours, theirs = both
    asked = requests(("short",), ("Somewhat longer than the context of the model. " * 5,), ("é中" * 40,))
    found, expected = ours.loglikelihood_rolling(asked), theirs.loglikelihood_rolling(asked, True)
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_texts_are_equal(both):
    _, ours, theirs = both
    stop = {"until": ["a", "\n\n"], "max_gen_toks": 20}
    asked = requests(
        ("The sky is", stop),
        ("Another, rather long beginning of a text that is cut at its left side", stop),
        ("é", {"until": ["zzz"], "max_gen_toks": 12, "do_sample": False}),
    )
    assert ours.generate_until(asked) == theirs.generate_until(asked, True)


@pytest.mark.parametrize("chat", slow_after(0, [False, True]))
def test_a_task_gives_equal_scores(both, tmp_path, capsys, monkeypatch, chat):
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder, _, theirs = both
    (tmp_path / "colours.jsonl").write_text("".join(json.dumps(one) + "\n" for one in QUESTIONS))
    (tmp_path / "colours.yaml").write_text(TASK.format(folder=tmp_path))
    output = tmp_path / "results.json"
    words = ["--tasks", "colours", "--include-path", str(tmp_path), "--output", str(output)]
    words += ["--chat", "--system", "In a word.", "--num-fewshot", "1"] if chat else []
    assert main(["harness", str(folder), *words]) == 0
    said = capsys.readouterr().out
    expected = evaluator.simple_evaluate(
        model=theirs,
        tasks=["colours"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        num_fewshot=1 if chat else None,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        system_instruction="In a word." if chat else None,
        log_samples=False,
    )
    results = json.loads(output.read_text())
    assert results["config"].get("chat_template_sha") == expected["config"].get("chat_template_sha")
    found, expected = (own["results"]["colours"] for own in (results, expected))
    for name in ("acc,none", "acc_norm,none"):
        assert found[name] == expected[name]
        assert f"colours: {name.partition(',')[0]} {found[name]:.4f}" in said


def test_encoders_are_refused(both):
    from jaxlm.harness import HarnessModel

    model = jaxlm.load(both[0])
    model.experiment = replace(model.experiment, model=replace(model.config, architecture="encoder"))
    with pytest.raises(UsageError, match="measures models that read from left to right"):
        HarnessModel(model)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_no_answer_depends_on_the_batch_size(both, batch_size):
    folder, ours, _ = both
    other = type(ours)(str(folder), batch_size)
    pairs = requests(*(("The sky is " * count, "blue" * (count + 1)) for count in (4, 1, 3, 2, 5)))
    for own, expected in zip(other.loglikelihood(pairs), ours.loglikelihood(pairs), strict=True):
        assert own[0] == pytest.approx(expected[0], rel=1e-6, abs=1e-4)
        assert own[1] == expected[1]
    texts = requests(*(("grass " * count,) for count in (30, 1, 12)))
    assert other.loglikelihood_rolling(texts) == pytest.approx(ours.loglikelihood_rolling(texts), abs=1e-3)
    asked = requests(*(("snow " * count, {"until": ["a"], "max_gen_toks": 9}) for count in (1, 7, 3)))
    assert other.generate_until(asked) == ours.generate_until(asked)


def test_continuations_as_long_as_the_context_are_equal_and_longer_ones_refused(both):
    _, ours, theirs = both
    asked = requests(("abc", "z" * 63), ("abc", "z" * 64), ("", "z" * 64))
    for own, (score, greedy) in zip(ours.loglikelihood(asked), theirs.loglikelihood(asked, True), strict=True):
        assert own[0] == pytest.approx(score, rel=1e-6, abs=1e-4)
        assert own[1] == greedy
    with pytest.raises(UsageError, match="has 65 tokens, more than the model's context of 64"):
        ours.loglikelihood(requests(("abc", "z" * 65)))


def test_an_empty_text_is_as_likely_as_theirs(both):
    _, ours, theirs = both
    asked = requests(("",), ("abc",))
    assert ours.loglikelihood_rolling(asked) == pytest.approx(theirs.loglikelihood_rolling(asked, True), abs=1e-3)


@pytest.mark.parametrize("batch_size", slow_after(0, [1, 2, 4]))
def test_a_request_repeated_is_drawn_anew(both, batch_size):
    options = {"until": [], "max_gen_toks": 16, "do_sample": True, "temperature": 1.0}
    asked = requests(*[("The sky", options)] * 4)
    assert len(set(type(both[1])(str(both[0]), batch_size).generate_until(asked))) == 4


@pytest.mark.parametrize("template", [CHAT, STRIPPED])
@pytest.mark.parametrize("last", ["yes", " yes ", "yes, and\n"])
@pytest.mark.parametrize("more", [True, False])
def test_conversations_are_equal(both, template, last, more, monkeypatch):
    _, ours, theirs = both
    monkeypatch.setattr(theirs.tokenizer, "chat_template", template)
    monkeypatch.setitem(ours.tokenizer.chat_templates, "default", template)
    talk = [{"role": "user", "content": "yes?"}, {"role": "assistant", "content": last}]
    assert ours.apply_chat_template(talk, more) == theirs.apply_chat_template(talk, more)
    assert talk[-1]["content"] == last


def test_a_template_that_leaves_out_what_is_to_be_continued_is_refused(both, monkeypatch):
    _, ours, _ = both
    monkeypatch.setitem(ours.tokenizer.chat_templates, "default", SILENT)
    with pytest.raises(UsageError, match="leaves out the last message"):
        ours.apply_chat_template([{"role": "user", "content": "yes?"}], False)


def test_conversations_need_a_template(both, monkeypatch):
    _, ours, _ = both
    monkeypatch.setattr(ours.tokenizer, "chat_templates", {})
    with pytest.raises(UsageError, match="has no chat template: leave --chat out"):
        ours.chat_template(True)


def test_conversations_are_those_that_a_model_was_fine_tuned_on(both):
    """The template of a run's settings comes before the tokenizer's."""
    folder, ours, _ = both
    other = (
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<me>{% endif %}"
    )
    model = jaxlm.load(folder)
    assert ours.chat_template(True) == CHAT
    task = TaskConfig("chat", chat_template=other)
    model.experiment = replace(model.experiment, task=task)
    tuned = type(ours)(model)
    assert tuned.chat_template(True) == other
    talk = [{"role": "user", "content": "yes?"}, {"role": "assistant", "content": "no"}]
    assert tuned.apply_chat_template(talk[:1]) == "<user>yes?<me>"
    assert tuned.apply_chat_template(talk, False) == "<user>yes?<assistant>no"


def test_plain_conversations_are_those_of_runs_without_a_template(both):
    _, ours, _ = both
    model = SimpleNamespace(**{name: getattr(ours.model, name) for name in ("config", "params")})
    tokenizer = train_tokenizer(TokenizerConfig("sentencepiece", vocab_size=274), ["user: yes?\nassistant: no\n"] * 9)
    model.tokenizer = tokenizer
    model.experiment = replace(ours.model.experiment, task=TaskConfig("chat"))
    plain = type(ours)(model)
    assert plain.chat_template(True) == "plain"
    talk = [{"role": "user", "content": "yes?"}, {"role": "assistant", "content": "no"}]
    assert plain.apply_chat_template(talk[:1]) == "user: yes?\nassistant:"
    with pytest.raises(UsageError, match=r"leave examples before the question out \(--num-fewshot 0\)"):
        plain.apply_chat_template([*talk, talk[0]])


def test_bad_options_are_refused_before_any_work(tmp_path, capsys):
    assert main(["harness", "no_such_model", "--tasks"]) == 2
    assert "--tasks names no task" in capsys.readouterr().err
    assert main(["harness", "no_such_model", "--tasks", "a", "--output", str(tmp_path / "none" / "x.json")]) == 2
    assert "its folder does not exist" in capsys.readouterr().err


@pytest.mark.slow
def test_an_unknown_task_is_refused_before_the_model_is_loaded():
    from jaxlm.harness import run_harness

    with pytest.raises(UsageError, match=r"the harness has no task no_such_task, nor_this;"):
        run_harness("no_such_model", ["hellaswag", "no_such_task", "nor_this"])
