"""What a directory says of its scores, vectors and generation is done, kept by a run, and written by an export."""

import json

import numpy as np
import pytest

import jaxlm
from jaxlm.errors import DataError, UsageError
from jaxlm.hub.directory import read_model

from ..text.small_directories import write_bert
from .parity import randomise

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
TEXTS = ["so long lives this", "summer", "a day"]


def write_model(folder, head, **fields):
    """A tiny BERT with random weights and its tokenizer; returns both as transformers has them."""
    write_bert(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    config = transformers.BertConfig(vocab_size=len(theirs), max_position_embeddings=40, pad_token_id=0, **SIZES)
    for name, value in fields.items():
        setattr(config, name, value)
    model = randomise(getattr(transformers, head)(config)).eval()
    model.save_pretrained(folder)
    return model, theirs


def run_of(folder, path):
    """The model of a directory by way of a run folder."""
    jaxlm.load(folder).save(path)
    return jaxlm.load(path)


def numbers(model, tokenizer, *texts):
    with torch.no_grad():
        return model(**tokenizer(*texts, padding=True, return_tensors="pt")).logits.numpy()


def test_any_number_of_labels_may_hold(tmp_path):
    labels = {0: "sad", 1: "glad", 2: "loud"}
    fields = {"problem_type": "multi_label_classification", "id2label": labels, "num_labels": 3}
    model, tokenizer = write_model(tmp_path / "theirs", "BertForSequenceClassification", **fields)
    ours = run_of(tmp_path / "theirs", tmp_path / "run")
    expected = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)(TEXTS)
    for prediction, each in zip(ours.predict(TEXTS), expected, strict=True):
        probabilities = {one["label"]: one["score"] for one in each}
        assert prediction.probabilities == pytest.approx(probabilities, abs=1e-5)
        assert set(prediction.labels) == {label for label, score in probabilities.items() if score > 0.5}
    ours.export(tmp_path / "out")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    assert (config.problem_type, config.id2label) == ("multi_label_classification", labels)


@pytest.mark.parametrize(
    ("fields", "sigmoid"),
    [
        ({}, False),
        ({"problem_type": "regression"}, False),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, False),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, True),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.0"}}, True),
    ],
)
def test_one_number_is_a_number_of_a_text_or_a_pair(tmp_path, fields, sigmoid):
    model, tokenizer = write_model(
        tmp_path / "theirs", "BertForSequenceClassification", num_labels=1, id2label={0: "fit"}, **fields
    )
    ours = run_of(tmp_path / "theirs", tmp_path / "run")
    pairs = [("so long", "lives this"), ("summer", "a day")]
    alone, paired = (
        numbers(model, tokenizer, TEXTS)[:, 0],
        numbers(model, tokenizer, *map(list, zip(*pairs, strict=True)))[:, 0],
    )
    if sigmoid:
        alone, paired = (1 / (1 + np.exp(-each)) for each in (alone, paired))
    np.testing.assert_allclose([each.value for each in ours.predict(TEXTS)], alone, atol=1e-5)
    np.testing.assert_allclose([each.value for each in ours.predict(pairs)], paired, atol=1e-5)
    ours.export(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {name: config.get(name) for name in fields} == fields
    assert ("problem_type" in config, config["id2label"]) == ("problem_type" in fields, {"0": "fit"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_labels": 3, "problem_type": "regression"}, "regression with 3 numbers is not supported"),
        ({"num_labels": 3, "problem_type": "ranking"}, "problem_type is 'ranking'"),
        ({"num_labels": 1, "sbert_ce_default_activation_function": "torch.nn.Tanh"}, "the activation 'torch.nn.Tanh'"),
        (
            {"num_labels": 1, "sentence_transformers": {"scale": 2}},
            r"\(sentence_transformers\) has fields .* scale = 2",
        ),
    ],
)
def test_scores_of_another_meaning_are_refused(tmp_path, fields, message):
    write_model(tmp_path, "BertForSequenceClassification")
    path = tmp_path / "config.json"
    values = {name: value for name, value in json.loads(path.read_text()).items() if not name.endswith("2label")}
    path.write_text(json.dumps({**values, **fields}))
    with pytest.raises(UsageError, match=message):
        jaxlm.load(tmp_path)


MODULES = [("", "models.Transformer"), ("1_Pooling", "models.Pooling"), ("2_Normalize", "models.Normalize")]


def write_modules(folder, modules=MODULES, pooling=None, settings=None, whole=None):
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
        for number, (path, kind) in enumerate(modules)
    ]
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": False, **(pooling or {})}
    for name, values in {
        "modules.json": listed,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": settings or {"max_seq_length": 5, "do_lower_case": True},
        "config_sentence_transformers.json": whole or {"__version__": {}, "similarity_fn_name": "cosine"},
    }.items():
        (folder / name).write_text(json.dumps(values))


def test_vectors_are_those_of_sentence_transformers(tmp_path):
    model, tokenizer = write_model(tmp_path / "theirs", "BertModel")
    write_modules(tmp_path / "theirs", pooling={"pooling_mode_cls_token": True})
    ours = run_of(tmp_path / "theirs", tmp_path / "run")
    texts = ["  So long lives THIS and summer", "a Day "]
    lower = [text.strip().lower() for text in texts]
    batch = tokenizer(lower, padding=True, truncation="longest_first", max_length=5, return_tensors="pt")
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model(**batch).last_hidden_state[:, 0]).numpy()
    np.testing.assert_allclose(ours.encode_text(texts), expected, atol=1e-5)
    ours.export(tmp_path / "out")
    for folder in (tmp_path / "theirs", tmp_path / "out"):
        assert jaxlm.load(folder).vectors == ours.vectors
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Normalize"]


def test_vectors_come_from_a_model_without_a_head_whatever_class_is_named(tmp_path):
    """all-mpnet-base-v2 holds a bare model, and names the class that it was pretrained as."""
    write_model(tmp_path / "theirs", "BertModel")
    path = tmp_path / "theirs" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(DataError, match=r"cls\.predictions\.transform\.dense\.weight .* is missing"):
        read_model(tmp_path / "theirs")
    write_modules(tmp_path / "theirs", pooling={"pooling_mode_mean_tokens": True})
    ours = jaxlm.load(tmp_path / "theirs")
    assert (ours.config.task_head, ours.config.pooler, ours.vectors.pooling) == ("none", "tanh", ("mean",))
    assert np.isfinite(ours.encode_text(["A day"])).all()
    # A head that is there is kept.
    write_model(tmp_path / "whole", "BertForMaskedLM")
    write_modules(tmp_path / "whole", pooling={"pooling_mode_mean_tokens": True})
    assert read_model(tmp_path / "whole").config.task_head == "language_model"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modules": [*MODULES, ("3_Dense", "models.Dense")]}, "Normalize, Dense are not supported"),
        ({"modules": MODULES[:1]}, "the modules Transformer are not supported"),
        ({"modules": [("0_Transformer", "models.Transformer"), *MODULES[1:]]}, "the model is in '0_Transformer'"),
        ({"modules": [MODULES[0], ("../1", "models.Pooling")]}, "'../1' is not a plain name"),
        ({"pooling": {}}, "no pooling_mode is on"),
        ({"pooling": {"pooling_mode": "attention"}}, "pooling_mode 'attention' is not supported"),
        ({"pooling": {"pooling_mode_median_tokens": True}}, "pooling_mode_median_tokens = True"),
        ({"settings": {"max_seq_length": 0}}, "max_seq_length is 0"),
        ({"settings": {"tokenizer_args": {"use_fast": False}}}, "tokenizer_args is"),
        ({"whole": {"truncate_dim": 8}}, "truncate_dim is 8"),
        ({"whole": {"default_prompt_name": "query", "prompts": {}}}, "'query' names no text"),
    ],
)
def test_vectors_that_would_be_other_ones_are_refused(tmp_path, changes, message):
    from jaxlm.hub.sentence_transformers import read_vectors

    write_modules(tmp_path, **{"pooling": {"pooling_mode_mean_tokens": True}, **changes})
    with pytest.raises((UsageError, DataError), match=message):
        read_vectors(tmp_path)


def test_prompts_and_todays_names_are_read(tmp_path):
    from jaxlm.hub.sentence_transformers import read_vectors
    from jaxlm.prediction.config import VectorConfig

    write_modules(
        tmp_path,
        [("", "base.modules.transformer.Transformer"), ("1_Pooling", "sentence_transformer.modules.pooling.Pooling")],
        {"pooling_mode": ["mean", "cls"], "include_prompt": True},
        {"max_seq_length": None},
        {"prompts": {"query": "query: ", "passage": ""}, "default_prompt_name": "query"},
    )
    assert read_vectors(tmp_path) == VectorConfig(("first", "mean"), strip=True, prefix="query: ")


def test_what_a_translator_says_of_generating_is_used_or_named_and_kept(tmp_path, caplog):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 24}
    sizes |= {f"{tower}_attention_heads": 2 for tower in ("encoder", "decoder")}
    sizes |= {f"{tower}_ffn_dim": 24 for tower in ("encoder", "decoder")}
    config = transformers.MarianConfig(
        vocab_size=20, pad_token_id=19, decoder_start_token_id=19, eos_token_id=0, forced_eos_token_id=None, **sizes
    )
    randomise(transformers.MarianMTModel(config)).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "generation_config.json").unlink()
    path = tmp_path / "theirs" / "config.json"
    undone = {"forced_bos_token_id": 7, "no_repeat_ngram_size": 2, "bad_words_ids": [[19]]}
    done = {"num_beams": 4, "length_penalty": 2.0}
    path.write_text(json.dumps({**json.loads(path.read_text()), **done, **undone, "max_length": 16}))
    ours = run_of(tmp_path / "theirs", tmp_path / "run")
    assert (ours.generation.num_beams, ours.generation.length_penalty) == (4, 2.0)
    assert ours.generation.max_new_tokens == 15
    for name in undone:
        assert f"config.json: {name} = " in caplog.text
    assert "num_beams" not in caplog.text
    ours.export(tmp_path / "out")
    written = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    assert {name: getattr(written, name) for name in {**done, **undone}} == {**done, **undone}
