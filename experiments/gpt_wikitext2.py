"""A small GPT (4 layers, 256 wide, rotary, gated) on WikiText-2, measured per word as the published tables are.

    JAXLM_DATA=/path/to/data jaxlm train experiments/gpt_wikitext2.py --dir runs/gpt-wikitext2
    jaxlm evaluate runs/gpt-wikitext2 --files $JAXLM_DATA/wikitext2/valid.txt --stride 32 --json

$JAXLM_DATA holds wikitext2/train.txt and valid.txt, the word-tokenised files. A softmax over their 33,278 words would
take most of a budget of minutes, so the model reads 4,096 lossless SentencePiece pieces. Perplexity per word is then
exp(loss * targets / 217,646) of valid.txt: all nats of the text, over its words with one <eos> a line.

468 s on 2 cores with other work beside; validation loss 3.79 on the tail (the frequencies of pieces give 6.01), and a
perplexity of 300 per word on valid.txt.
"""

import os

from jaxlm.data.config import DataConfig
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig


def experiment() -> Experiment:
    """Rows of 128 tokens, 16 to a step, 1,500 steps: about one epoch."""
    folder = os.environ.get("JAXLM_DATA", "data")
    return Experiment(
        name="gpt-wikitext2",
        steps=1500,
        batch_size=16,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            num_layers=4,
            embed_dim=256,
            num_heads=4,
            mlp_dim=704,
            positions="rotary",
            norm="rms_norm",
            feed_forward="swiglu",
            use_bias=False,
            matmul_precision="bfloat16",
            layers="unrolled",
        ),
        tokenizer=TokenizerConfig("sentencepiece", vocab_size=4096),
        data=DataConfig(
            source="text",
            files=(os.path.join(folder, "wikitext2", "train.txt"),),
            validation_fraction=0.02,
            length=128,
        ),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, final_fraction=0.0),
        evaluation=EvaluationConfig(every=500, batch_size=32),
        checkpoints=CheckpointConfig(every=500),
    )
