"""A small XLNet (4 layers, 128 wide) on WikiText-2: the last sixth of the tokens in a random order.

    JAXLM_DATA=/path/to/data jaxlm train experiments/xlnet_wikitext2.py --dir runs/xlnet-wikitext2

$JAXLM_DATA holds wikitext2/train.txt, whose last 5 % are held out. Orders are anew in each epoch (Yang et al. 2019).

412 s on 2 cores with other work beside; validation loss 3.72 (the frequencies of tokens give 6.07).
"""

import os

from jaxlm.data.config import DataConfig
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig


def experiment() -> Experiment:
    """Rows of 128 tokens, 16 to a step, 1,200 steps."""
    folder = os.environ.get("JAXLM_DATA", "data")
    return Experiment(
        name="xlnet-wikitext2",
        steps=1200,
        batch_size=16,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            architecture="permutation",
            num_layers=4,
            embed_dim=128,
            num_heads=4,
            positions="transformer_xl",
            norm_position="post",
            norm_epsilon=1e-12,
            qkv_bias=False,
            attention_output_bias=False,
            feed_forward="gelu",
            head_bias=True,
            matmul_precision="bfloat16",
            layers="unrolled",
        ),
        task=TaskConfig("permutation_lm"),
        tokenizer=TokenizerConfig("sentencepiece", vocab_size=4096),
        data=DataConfig(
            source="text",
            files=(os.path.join(folder, "wikitext2", "train.txt"),),
            validation_fraction=0.05,
            length=128,
        ),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=100, final_fraction=0.0),
        evaluation=EvaluationConfig(every=600, batch_size=32),
        checkpoints=CheckpointConfig(every=600),
    )
