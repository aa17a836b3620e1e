"""A BERT-like encoder (4 layers, 128 wide) on song lyrics (ci) of the Song dynasty: masked characters and words.

    JAXLM_DATA=/path/to/data python experiments/documents.py documents
    JAXLM_DOCUMENTS=documents jaxlm train experiments/mlm_chinese_poetry.py --dir runs/mlm-poetry
    python -c "import jaxlm; print(jaxlm.load('runs/mlm-poetry').fill_mask('春[MASK]秋月何时了。'))"

Documents and pieces as in gpt_chinese_poetry.py; a row goes on over the end of a poem.
Every other layer sees 8 tokens to either side, as in bert_tiny_wikitext2.py.

190 s on 2 cores with other work beside; validation loss 5.38 (the frequencies of pieces give 6.28), accuracy 0.234.
That is little more than where punctuation stands: more steps are worth their time.
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
    """Rows of 128 tokens, 16 to a step, 1,000 steps."""
    folder = os.environ.get("JAXLM_DOCUMENTS", "documents")
    return Experiment(
        name="mlm-chinese-poetry",
        steps=1000,
        batch_size=16,
        log_every=50,
        sample_every=0,
        model=ModelConfig(
            architecture="encoder",
            num_layers=4,
            embed_dim=128,
            num_heads=4,
            positions="rotary",
            window=16,
            layer_pattern=("local", "global"),
            feed_forward="gelu",
            head_bias=True,
            head_transform=True,
            matmul_precision="bfloat16",
            layers="unrolled",
        ),
        task=TaskConfig("masked_lm"),
        tokenizer=TokenizerConfig(
            "sentencepiece", vocab_size=6400, character_coverage=1.0, special_tokens=("[CLS]", "[SEP]", "[MASK]")
        ),
        data=DataConfig(
            source="jsonl",
            files=(os.path.join(folder, "poems.jsonl"),),
            split="document",
            validation_fraction=0.05,
            length=128,
        ),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, final_fraction=0.0),
        evaluation=EvaluationConfig(every=500, batch_size=32),
        checkpoints=CheckpointConfig(every=500),
    )
