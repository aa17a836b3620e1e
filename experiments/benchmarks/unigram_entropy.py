"""What a model loses that knows nothing but how frequent tokens are: the least that a run has to beat.

    python experiments/benchmarks/unigram_entropy.py RUN

The cross-entropy, in nats, of the run's validation targets under the frequencies (plus one each) of its training
targets: hidden tokens of a masked language model, sentinels and all of span corruption, as the task weighs them.
"""

import argparse

import numpy as np

import jaxlm
from jaxlm.data.corpus import prepare_corpus
from jaxlm.parallel.runtime import prepare_cpu
from jaxlm.tasks.make import make_task


def unigram_entropy(run: str) -> tuple[float, int]:
    """Returns nats a target, and the number of validation targets, of a run folder."""
    model = jaxlm.load(run)
    data = model.experiment.data
    corpus = prepare_corpus(data)
    feed = make_task(model.experiment.task, model.config, data, model.tokenizer).feed
    counts = {}
    for split in ("train", "validation"):
        rows = feed.evaluation_rows(feed.stream(getattr(corpus, split), f"{corpus.fingerprint}/{split}"))
        counts[split] = np.zeros(model.config.vocab_size or 0)
        for batch in rows.batches(256):
            np.add.at(counts[split], batch["targets"].ravel(), batch["loss_weights"].ravel())
    frequencies = (counts["train"] + 1) / (counts["train"] + 1).sum()
    total = counts["validation"].sum()
    return float(-(counts["validation"] * np.log(frequencies)).sum() / total), int(total)


if __name__ == "__main__":
    prepare_cpu()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="run folder")
    nats, targets = unigram_entropy(parser.parse_args().run)
    print(f"{nats:.4f} nats over {targets:,} validation targets")
