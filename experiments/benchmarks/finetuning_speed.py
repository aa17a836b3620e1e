"""Fine-tuning and evaluation speed against the `transformers` Trainer, both sides in one command.

    pip install -e '.[peers,metrics]' accelerate
    python experiments/benchmarks/finetuning_speed.py --vocabulary bert_base_uncased_vocab.txt \\
        --train sst2/train.tsv --validation sst2/dev.tsv

BERT of mini shape (4 layers, 256 wide, random weights, dropout 0.1) on sentences with a label: tokenising, two epochs
in batches of 32 padded to their longest (the Trainer, with DataCollatorWithPadding) or to one of a few widths (ours),
compiling, and an evaluation an epoch, all counted; then an evaluation alone. Importing libraries is not counted.
float32 on both sides. The sides alternate, each in its own process; peak memory is that of the process.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from alternate import measure

SIDES = ("jaxlm", "transformers")
EPOCHS, BATCH, LENGTH = 2, 32, 64


def write_model(folder: Path, vocabulary: Path) -> None:
    """Writes the model that both sides begin from."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    words = vocabulary.read_text("utf-8").splitlines()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        id2label={0: "0", 1: "1"},
        label2id={"0": 0, "1": 1},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), "utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512})
    )


def read(path: Path) -> tuple[list[str], list[int]]:
    """Reads text, a tab and 0 or 1."""
    rows = [line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines()]
    return [text for text, _ in rows], [int(label) for _, label in rows]


def jaxlm_side(options: argparse.Namespace, work: Path) -> dict[str, float]:
    """Ours."""
    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import jaxlm
    from jaxlm.data.config import DataConfig
    from jaxlm.data.examples.config import ExamplesConfig
    from jaxlm.data.examples.reading import read_examples
    from jaxlm.evaluation.config import EvaluationConfig
    from jaxlm.experiment import Experiment
    from jaxlm.tasks.config import TaskConfig
    from jaxlm.training.config import OptimizerConfig
    from jaxlm.training.loop import train

    experiment = Experiment(
        epochs=EPOCHS,
        batch_size=BATCH,
        log_every=500,
        start_from=options.model,
        model_changes={"dropout_rate": 0.1, "attention_dropout_rate": 0.1},
        data=DataConfig(source="examples", length=LENGTH),
        examples=ExamplesConfig((str(options.train),), (str(options.validation),)),
        task=TaskConfig("classification"),
        optimizer=OptimizerConfig(learning_rate=1e-4, schedule="linear", warmup_steps=0, final_fraction=0.0),
        evaluation=EvaluationConfig(batch_size=BATCH),
    )
    started = time.perf_counter()
    train(experiment, work / "run")
    trained = time.perf_counter() - started
    model = jaxlm.load(work / "run")
    examples = read_examples(experiment.examples, "classification", "validation").examples
    started = time.perf_counter()
    for _ in range(options.evaluations):
        found = model.evaluate_examples(examples, BATCH, replicates=0)
    evaluated = time.perf_counter() - started
    count = len(read(options.train)[0])
    return {
        "train": EPOCHS * count / trained,
        "evaluate": options.evaluations * found.examples / evaluated,
    }


def transformers_side(options: argparse.Namespace, work: Path) -> dict[str, float]:
    """The peer's, as its documentation writes it."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    class Examples(torch.utils.data.Dataset):
        """Tokenised texts with labels."""

        def __init__(self, tokenizer, texts, labels):
            self.inputs = tokenizer(texts, truncation=True, max_length=LENGTH)
            self.labels = labels

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return {**{name: own[index] for name, own in self.inputs.items()}, "labels": self.labels[index]}

    def accuracy(outputs):
        return {"accuracy": float((outputs.predictions.argmax(-1) == outputs.label_ids).mean())}

    arguments = TrainingArguments(
        output_dir=str(work / "trainer"),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=1e-4,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        logging_steps=500,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    started = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSequenceClassification.from_pretrained(options.model)
    own, held_out = (Examples(tokenizer, *read(path)) for path in (options.train, options.validation))
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=own,
        eval_dataset=held_out,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    trainer.train()
    trained = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(options.evaluations):
        trainer.eval_dataset = Examples(tokenizer, *read(options.validation))
        trainer.evaluate(trainer.eval_dataset)
    evaluated = time.perf_counter() - started
    return {
        "train": EPOCHS * len(own) / trained,
        "evaluate": options.evaluations * len(held_out) / evaluated,
    }


def line(found: dict[str, float]) -> str:
    """Returns a side's figures in words."""
    return f"train {found['train']:,.1f} and evaluate {found['evaluate']:,.1f} examples/s, {found['memory']:,.0f} MiB"


def main() -> None:
    """Parses options; compares, or measures one side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=5)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.side:
            function = jaxlm_side if options.side == "jaxlm" else transformers_side
            found = function(options, Path(folder))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps({**found, "memory": peak}))
            return
        model = Path(folder) / "model"
        write_model(model, options.vocabulary)
        command = [sys.executable, __file__, "--model", str(model), "--evaluations", str(options.evaluations)]
        for name in ("vocabulary", "train", "validation"):
            command += [f"--{name}", str(getattr(options, name))]
        sides = {side: [*command, "--side", side] for side in SIDES}
        results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for number in range(1, options.rounds + 1):
            for side, words in sides.items():
                results[side].append(measure(words))
            shown = (f"{side} {line(found[-1])}" for side, found in results.items())
            print(f"  round {number}: {'   '.join(shown)}", flush=True)
        medians = {
            side: {name: statistics.median(one[name] for one in found) for name in found[0]}
            for side, found in results.items()
        }
        for name, found in medians.items():
            print(f"  median {name}: {line(found)}")
        ours, peer = medians.values()
        print("  jaxlm / transformers: " + ", ".join(f"{name} {ours[name] / peer[name]:.2f}x" for name in ours))


if __name__ == "__main__":
    main()
