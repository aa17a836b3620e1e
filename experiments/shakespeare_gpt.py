"""A character-level GPT on tiny Shakespeare, of nanoGPT's CPU size and token budget.

    jaxlm train experiments/shakespeare_gpt.py --dir runs/demo

95 s on 2 CPU cores; validation loss 1.7739 over the whole tail (last 10 %, blocks of 64).

Reference: nanoGPT's README (commit 3adf61e) reports a validation loss of 1.88 for this size and budget, from 20 random
batches; here the whole validation tail counts. The learning rate is three times nanoGPT's, which is too low.
"""

from jaxlm.experiment import Experiment
from jaxlm.generation.config import GenerationConfig
from jaxlm.models.config import ModelConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig


def experiment() -> Experiment:
    """4 layers, 4 heads, 128 wide, rows of 64 characters, 2,000 steps of 12 rows."""
    return Experiment(
        name="shakespeare-gpt",
        steps=2000,
        batch_size=12,
        log_every=50,
        model=ModelConfig(layers="unrolled"),  # four layers compile quickly, and run faster so on a CPU
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, final_fraction=0.0, beta2=0.99),
        sampling=GenerationConfig(max_new_tokens=200, temperature=0.8),
        checkpoints=CheckpointConfig(every=500),
    )
