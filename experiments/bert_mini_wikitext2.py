"""BERT of mini size (4 layers, 256 wide; Turc et al. 2019) pretrained on WikiText-2: masked words and next sentences.

    JAXLM_DATA=/path/to/data jaxlm train experiments/bert_mini_wikitext2.py --dir runs/bert-mini

$JAXLM_DATA holds wikitext2/train.txt. Paragraphs are the documents, sentences are segmented by sentencex
(pip install 'jaxlm[sentences]'), and 5 % of the paragraphs are held out. Masks are anew in each epoch.
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
        name="bert-mini-wikitext2",
        steps=1500,
        batch_size=32,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            architecture="encoder",
            num_layers=4,
            embed_dim=256,
            num_heads=4,
            token_types=2,
            embedding_norm=True,
            norm_position="post",
            norm_epsilon=1e-12,
            feed_forward="gelu",
            head_bias=True,
            head_transform=True,
            task_head="pretraining",
            pooler="tanh",
            dropout_rate=0.1,
            layers="unrolled",
            matmul_precision="bfloat16",
        ),
        task=TaskConfig("bert", masking="whole_word"),
        tokenizer=TokenizerConfig("sentencepiece", vocab_size=8192, special_tokens=("[CLS]", "[SEP]", "[MASK]")),
        data=DataConfig(
            source="text",
            files=(os.path.join(folder, "wikitext2", "train.txt"),),
            document="paragraph",
            split="document",
            validation_fraction=0.05,
            length=128,
        ),
        optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=150),
        evaluation=EvaluationConfig(every=500, batch_size=32),
        checkpoints=CheckpointConfig(every=500),
    )
