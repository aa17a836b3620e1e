"""An LSTM (2 layers, 192 wide) on WikiText-2, to be compared with transformer_wikitext2.py.

    JAXLM_DATA=/path/to/data jaxlm train experiments/lstm_wikitext2.py --dir runs/lstm-wikitext2 --seed 0
    jaxlm evaluate runs/lstm-wikitext2 --files $JAXLM_DATA/wikitext2/valid.txt --json

$JAXLM_DATA holds wikitext2/train.txt and valid.txt. Both models have the same tokens in the same order, the same
optimizer, and as many parameters within 1 %: 1,377,792 here. Perplexity per word as in gpt_wikitext2.py.

80 to 135 s on 2 cores with other work beside; validation loss 4.277 +- 0.018 over three seeds (the frequencies of
pieces give 6.01). A learning rate of 3e-3 reached 4.56.
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
        name="lstm-wikitext2",
        steps=1000,
        batch_size=32,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            architecture="lstm",
            num_layers=2,
            embed_dim=192,
            positions="none",
            init_std=0.0722,
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
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=100, final_fraction=0.0),
        evaluation=EvaluationConfig(every=500, batch_size=32),
        checkpoints=CheckpointConfig(every=500),
    )
