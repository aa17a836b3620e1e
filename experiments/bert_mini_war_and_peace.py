"""BERT of mini size, as in bert_mini_wikitext2.py, on War and Peace: masked tokens and next sentences.

    JAXLM_DATA=/path/to/data python experiments/documents.py documents
    JAXLM_DOCUMENTS=documents jaxlm train experiments/bert_mini_war_and_peace.py --dir runs/bert-peace --seed 0

The documents are the 365 chapters: paragraphs are mostly of one to three sentences, too few for pairs that fill a row.
5 % of the chapters are held out. Sentences are segmented by sentencex (pip install 'jaxlm[sentences]').

197 to 261 s on 2 cores with other work beside; over three seeds masked loss 4.93 +- 0.17 (the frequencies of tokens
give 6.39), accuracy 0.181 +- 0.018, next sentences 0.507 +- 0.037 right.
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
    """Rows of 64 tokens, 32 to a step, 1,200 steps."""
    folder = os.environ.get("JAXLM_DOCUMENTS", "documents")
    return Experiment(
        name="bert-mini-war-and-peace",
        steps=1200,
        batch_size=32,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            architecture="encoder",
            num_layers=4,
            embed_dim=256,
            num_heads=4,
            token_types=2,
            positions="rotary",
            window=16,
            layer_pattern=("local", "global"),
            feed_forward="gelu",
            head_bias=True,
            head_transform=True,
            task_head="pretraining",
            pooler="tanh",
            matmul_precision="bfloat16",
            layers="unrolled",
        ),
        task=TaskConfig("bert"),
        tokenizer=TokenizerConfig("sentencepiece", vocab_size=4096, special_tokens=("[CLS]", "[SEP]", "[MASK]")),
        data=DataConfig(
            source="jsonl",
            files=(os.path.join(folder, "chapters.jsonl"),),
            split="document",
            validation_fraction=0.05,
            length=64,
        ),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=100, final_fraction=0.0),
        evaluation=EvaluationConfig(every=600, batch_size=32),
        checkpoints=CheckpointConfig(every=600),
    )
