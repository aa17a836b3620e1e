"""What transformers says of the same directory."""

import numpy as np
import pytest

from jaxlm.hub.directory import read_model
from jaxlm.prediction.config import VectorConfig
from jaxlm.prediction.masks import fill_masks
from jaxlm.prediction.vectors import encode_text
from jaxlm.text.tokenizer import load_tokenizer

from ..hub.parity import randomise
from ..text.small_directories import write_bert, write_roberta

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_masks_and_vectors_are_those_of_transformers(tmp_path, kind):
    if kind == "Bert":
        write_bert(tmp_path)
    else:
        # As roberta-base's tokenizer.json has it: the mask takes the space before it along.
        write_roberta(tmp_path, mask_token={"content": "<mask>", "lstrip": True, "__type": "AddedToken"})
    tokenizer = load_tokenizer(tmp_path)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=tokenizer.vocab_size, max_position_embeddings=40, pad_token_id=tokenizer.pad_id, **SIZES
    )
    model = randomise(getattr(transformers, f"{kind}ForMaskedLM")(config))
    model.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = read_model(tmp_path)

    text = f"and summer's {theirs.mask_token} hath all too short a {theirs.mask_token}"
    expected = transformers.pipeline("fill-mask", model=model, tokenizer=theirs)(text, top_k=3)
    found = fill_masks(ours.config, ours.params, tokenizer, text, 3)
    for mask, expected_mask in zip(found, expected, strict=True):
        assert [filling.token for filling in mask] == [each["token_str"] for each in expected_mask]
        scores = [each["score"] for each in expected_mask]
        np.testing.assert_allclose([filling.probability for filling in mask], scores, rtol=1e-4)

    texts = ["so long lives this", "summer"]
    batch = theirs(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.base_model(**batch).last_hidden_state
    weights = batch["attention_mask"][..., None]
    mean = (states * weights).sum(1) / weights.sum(1)
    np.testing.assert_allclose(encode_text(ours.config, ours.params, tokenizer, texts), mean, atol=1e-5)
    cls = encode_text(ours.config, ours.params, tokenizer, texts, VectorConfig(("cls",)))
    np.testing.assert_allclose(cls, states[:, 0], atol=1e-5)
