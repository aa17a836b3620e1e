"""What a model loses that knows nothing but how frequent tokens are: the least that a run has to beat.

    python experiments/benchmarks/unigram_entropy.py RUN

The cross-entropy, in nats, of the run's validation targets under the frequencies (plus one each) of its training
targets: hidden tokens of a masked language model, sentinels and all of span corruption, as the task weighs them. The
second figure counts all special tokens as one, as if it were known which comes next but not when: where they are many,
as in span corruption, a model gains much by no more than counting them.
"""

import argparse

import numpy as np

import jaxlm
from jaxlm.data.corpus import prepare_corpus
from jaxlm.parallel.runtime import prepare_cpu
from jaxlm.tasks.make import make_task
from jaxlm.text.words import special_ids


def unigram_entropy(run: str) -> tuple[float, float, int]:
    """Returns nats a target of a run's validation split, these if special tokens are one, and how many targets."""
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
    total = counts["validation"].sum()
    special = special_ids(model.tokenizer)
    nats = []
    for one in (np.zeros_like(special), special):
        train, validation = (np.append(counts[name][~one], counts[name][one].sum()) for name in ("train", "validation"))
        nats.append(float(-(validation * np.log((train + 1) / (train + 1).sum())).sum() / total))
    return nats[0], nats[1], int(total)


if __name__ == "__main__":
    prepare_cpu()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="run folder")
    nats, plain, targets = unigram_entropy(parser.parse_args().run)
    print(f"{nats:.4f} nats ({plain:.4f} with special tokens as one) over {targets:,} validation targets")
