"""Records what PyTorch transformers computes for a tiny XLNet, for test_permutation.py where PyTorch is not at hand.

python tests/models/record_xlnet.py       (with torch and transformers installed; rewrites the fixture)
"""

from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parents[1] / "fixtures" / "xlnet_tiny.npz"
SIZES: dict[str, Any] = {"vocab_size": 11, "d_model": 8, "n_layer": 2, "n_head": 2, "d_inner": 12}


def tiny_xlnet() -> Any:
    """An XLNet without dropout whose every parameter matters."""
    import torch
    from transformers import XLNetConfig, XLNetLMHeadModel

    model = XLNetLMHeadModel(XLNetConfig(**SIZES, dropout=0.0))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn(parameter.shape, generator=generator)
            is_scale = "layer_norm.weight" in name
            parameter.copy_(1 + 0.3 * normal if is_scale else 0.3 * normal)
    return model.eval()


def inputs() -> dict[str, np.ndarray]:
    """Two rows, the first left-padded, of which two tokens each are predicted in a permuted order."""
    tokens = np.random.default_rng(0).integers(0, 11, (2, 7), dtype=np.int32)
    visible = np.ones((2, 7, 7), bool)
    target_mapping = np.zeros((2, 2, 7), np.float32)
    for row, (first, second) in enumerate([(4, 3), (1, 6)]):
        target_mapping[row, 0, first] = target_mapping[row, 1, second] = 1
        visible[row, :, [first, second]] = False
        visible[row, second, first] = True
    return {
        "tokens": tokens,
        "token_types": np.array([[0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 1, 2]], np.int32),
        "segment_ids": np.array([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]], np.int32),
        "permutation_mask": visible,
        "target_mapping": target_mapping,
        "targets": np.array([[3, 7], [0, 10]], np.int32),
    }


def main() -> None:
    """Writes the fixture."""
    import torch

    model, given = tiny_xlnet(), inputs()
    tensors = {name: torch.tensor(value) for name, value in given.items()}
    shared: dict[str, Any] = {
        "input_ids": tensors["tokens"].long(),
        "token_type_ids": tensors["token_types"].long(),
        "attention_mask": tensors["segment_ids"].float(),
    }
    with torch.no_grad():
        plain = model(**shared).logits
    order = {"perm_mask": 1 - tensors["permutation_mask"].float(), "target_mapping": tensors["target_mapping"]}
    predicted = model(**shared, **order).logits
    loss = torch.nn.functional.cross_entropy(predicted.flatten(0, 1), tensors["targets"].long().flatten())
    loss.backward()
    recorded = {**given, "plain_logits": plain.numpy(), "logits": predicted.detach().numpy(), "loss": loss.item()}
    for name, parameter in model.named_parameters():
        recorded[f"parameters/{name}"] = parameter.detach().numpy()
        recorded[f"gradients/{name}"] = parameter.grad.numpy()
    np.savez_compressed(FIXTURE, **recorded)
    print(f"{FIXTURE}: {FIXTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
