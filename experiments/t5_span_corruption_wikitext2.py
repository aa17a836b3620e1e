"""A small T5 (v1.1's make, 3 + 3 layers, 128 wide) on WikiText-2: spans replaced by sentinels and restored.

    JAXLM_DATA=/path/to/data jaxlm train experiments/t5_span_corruption_wikitext2.py --dir runs/t5-mini

$JAXLM_DATA holds wikitext2/train.txt, whose last 5 % are held out. Sources of 128 tokens lose 15 % of their text in
spans of 3 tokens on average (Raffel et al. 2020, section 3.1.4); the loss is that of the targets, sentinels included.

208 s on 2 cores with other work beside; validation loss 4.22 (the frequencies of targets give 5.54, and 4.96 if it is
known which sentinel comes next but not when).
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
        name="t5-span-corruption-wikitext2",
        steps=1200,
        batch_size=16,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            architecture="encoder_decoder",
            num_layers=3,
            embed_dim=128,
            num_heads=4,
            mlp_dim=256,
            positions="relative_buckets",
            norm="rms_norm",
            feed_forward="geglu",
            use_bias=False,
            decoder_start_id=0,
            layers="unrolled",
            matmul_precision="bfloat16",
        ),
        task=TaskConfig("span_corruption"),
        tokenizer=TokenizerConfig(
            "sentencepiece", vocab_size=4096, special_tokens=tuple(f"<extra_id_{number}>" for number in range(32))
        ),
        data=DataConfig(
            source="text",
            files=(os.path.join(folder, "wikitext2", "train.txt"),),
            validation_fraction=0.05,
            length=128,
        ),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, final_fraction=0.0),
        evaluation=EvaluationConfig(every=600, batch_size=32),
        checkpoints=CheckpointConfig(every=600),
    )
