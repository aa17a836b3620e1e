"""Records what PyTorch transformers computes for a tiny GPT-2, for test_gpt2_recorded.py where PyTorch is not at hand.

python tests/models/record_gpt2.py        (with torch and transformers installed; rewrites the fixture)
"""

from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gpt2_tiny.npz"


def randomise(model: Any, seed: int) -> None:
    """Gives every parameter, biases and norms included, a value that matters."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn(parameter.shape, generator=generator)
            if "ln_" in name or "norm" in name:
                parameter.copy_((1 if name.endswith("weight") else 0) + 0.3 * normal)
            else:
                parameter.copy_(0.2 * normal)


def tiny_gpt2(width: int, layers: int) -> Any:
    """A GPT-2 for vocabulary 23 and context 16, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {
        "vocab_size": 23,
        "n_positions": 16,
        "n_embd": width,
        "n_layer": layers,
        "n_head": 2,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    model = GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
    randomise(model, seed=0)
    return model


def run(model: Any, tokens: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Logits, mean loss, parameters and gradients of the loss by name."""
    import torch

    logits = model(input_ids=torch.tensor(tokens, dtype=torch.long)).logits
    flat_targets = torch.tensor(targets, dtype=torch.long).flatten()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), flat_targets)
    loss.backward()
    recorded = {"tokens": tokens, "targets": targets, "logits": logits.detach().numpy(), "loss": loss.detach().numpy()}
    for name, parameter in model.named_parameters():
        recorded[f"parameters/{name}"] = parameter.detach().numpy()
        recorded[f"gradients/{name}"] = parameter.grad.numpy()
    return recorded


def main() -> None:
    """Writes the fixture."""
    random = np.random.default_rng(0)
    tokens, targets = random.integers(0, 23, (2, 2, 16), dtype=np.int32)
    np.savez_compressed(FIXTURE, **run(tiny_gpt2(width=16, layers=2), tokens, targets))
    print(f"{FIXTURE}: {FIXTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
