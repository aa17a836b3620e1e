"""ELECTRA of mini size (4 layers, 256 wide) pretrained on WikiText-2 beside a generator of a quarter of the width.

    JAXLM_DATA=/path/to/data jaxlm train experiments/electra_wikitext2.py --dir runs/electra

$JAXLM_DATA holds wikitext2/train.txt. Paragraphs are the documents, 5 % of which are held out; those of a row do not
see each other. 15 % of the tokens are hidden, anew in each epoch; as in the published code of Clark et al. 2020, 85 %
of these by the mask, and the discriminator's mean loss counts 50 times.
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
    """Rows of 128 tokens, 32 to a step, 1,500 steps."""
    folder = os.environ.get("JAXLM_DATA", "data")
    return Experiment(
        name="electra-wikitext2",
        steps=1500,
        batch_size=32,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            architecture="encoder",
            num_layers=4,
            embed_dim=256,
            num_heads=4,
            generator_heads=1,
            token_types=2,
            embedding_norm=True,
            norm_position="post",
            norm_epsilon=1e-12,
            feed_forward="gelu",
            task_head="replaced_token",
            dropout_rate=0.1,
            matmul_precision="bfloat16",
            layers="unrolled",
        ),
        task=TaskConfig("replaced_token", keep_rate=0.15, random_rate=0.0),
        tokenizer=TokenizerConfig("sentencepiece", vocab_size=8192, special_tokens=("[CLS]", "[SEP]", "[MASK]")),
        data=DataConfig(
            source="text",
            files=(os.path.join(folder, "wikitext2", "train.txt"),),
            document="paragraph",
            split="document",
            validation_fraction=0.05,
            batching="packed",
            length=128,
        ),
        optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=150),
        evaluation=EvaluationConfig(every=500, batch_size=32),
        checkpoints=CheckpointConfig(every=500),
    )
