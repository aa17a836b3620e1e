"""A Transformer (3 layers, 144 wide) on WikiText-2, to be compared with lstm_wikitext2.py.

    JAXLM_DATA=/path/to/data jaxlm train experiments/transformer_wikitext2.py --dir runs/transformer-wikitext2 --seed 0
    jaxlm evaluate runs/transformer-wikitext2 --files $JAXLM_DATA/wikitext2/valid.txt --json

$JAXLM_DATA holds wikitext2/train.txt and valid.txt. Both models have the same tokens in the same order, the same
optimizer, and as many parameters within 1 %: 1,372,248 here. Perplexity per word as in gpt_wikitext2.py.

97 to 152 s on 2 cores with other work beside; validation loss 4.113 +- 0.008 over three seeds (the frequencies of
pieces give 6.01).
"""

import os

from jaxlm.data.config import DataConfig
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig


def experiment() -> Experiment:
    """Rows of 64 tokens, 32 to a step, 1,000 steps: 2.05 M tokens."""
    folder = os.environ.get("JAXLM_DATA", "data")
    return Experiment(
        name="transformer-wikitext2",
        steps=1000,
        batch_size=32,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            num_layers=3,
            embed_dim=144,
            num_heads=4,
            mlp_dim=600,
            matmul_precision="bfloat16",
            layers="unrolled",
        ),
        tokenizer=TokenizerConfig("sentencepiece", vocab_size=4096),
        data=DataConfig(
            source="text",
            files=(os.path.join(folder, "wikitext2", "train.txt"),),
            validation_fraction=0.02,
            length=64,
        ),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, final_fraction=0.0),
        evaluation=EvaluationConfig(every=500, batch_size=32),
        checkpoints=CheckpointConfig(every=500),
    )
