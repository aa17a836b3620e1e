"""Chat fine-tuning of a model of 135 M parameters on 200 records, by LoRA and in full: held-out scores of both.

    python experiments/smollm2_chat.py --model SmolLM2-135M-Instruct --records scitldr/train.jsonl --dir runs/smollm2

The records are abstracts with a summary in a sentence (SciTLDR-A, Cachola et al. 2020, Apache-2.0: JSON Lines with
`source`, a list of sentences, and `target`, a list of summaries; $JAXLM_RECORDS names the file as well), made
conversations: an instruction, and the first summary as the answer. The first 200 are trained on for one epoch in
batches of 8, the next 50 held out. Prints mean loss in nats and accuracy of the answers' tokens, and how long it took.
"""

import argparse
import json
import os
import time
from pathlib import Path

TRAINED, HELD_OUT = 200, 50
LENGTH = 512


def write_records(source: Path, folder: Path) -> None:
    """Writes train.jsonl and validation.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = source.read_text("utf-8").splitlines()[: TRAINED + HELD_OUT]
    if len(lines) < TRAINED + HELD_OUT:
        raise SystemExit(f"{source} has {len(lines)} records; {TRAINED + HELD_OUT} are needed")
    talks = []
    for record in map(json.loads, lines):
        question = "Summarize this abstract in one sentence.\n\n" + " ".join(record["source"])
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": record["target"][0]}]
        talks.append(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")
    (folder / "train.jsonl").write_text("".join(talks[:TRAINED]), "utf-8")
    (folder / "validation.jsonl").write_text("".join(talks[TRAINED:]), "utf-8")


def held_out(model_path: Path, file: Path) -> tuple[float, float]:
    """Returns the mean loss and the accuracy of the answers' tokens under a model."""
    import jax

    import jaxlm
    from jaxlm.data.examples.config import ExamplesConfig
    from jaxlm.data.examples.reading import read_examples
    from jaxlm.evaluation.scoring import measure_examples, scored_rows
    from jaxlm.tasks.config import TaskConfig
    from jaxlm.tasks.labelled import LabelledSplit, padding_of
    from jaxlm.tasks.make import make_labelled_task

    model = jaxlm.load(model_path)
    task = make_labelled_task(TaskConfig(kind="chat"), model.config)
    found = read_examples(ExamplesConfig(test=(str(file),)), "chat", "test", None)
    rows = task.encode(model.tokenizer, LENGTH, found.examples)
    split = LabelledSplit(rows, padding_of(model.tokenizer), LENGTH, None)
    batches = split.batches(8)
    outputs = (jax.device_get(scored_rows(task.objective, model.params, batch)) for batch in batches)
    measured = measure_examples(split, outputs, task.objective.parts)
    return measured.loss, measured.metrics["token_accuracy"]


def main() -> None:
    """Trains and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a Hugging Face directory")
    parser.add_argument("--records", type=Path, default=os.environ.get("JAXLM_RECORDS"), help="JSON Lines of SciTLDR-A")
    parser.add_argument("--dir", type=Path, default=Path("runs/smollm2"), help="where runs and records go")
    parser.add_argument("--kinds", nargs="+", choices=("lora", "full"), default=["lora", "full"])
    options = parser.parse_args()
    if options.records is None:
        parser.error("--records (or $JAXLM_RECORDS) names the file of abstracts")

    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    from jaxlm.cli.finetune import experiments, parse
    from jaxlm.training.loop import train

    write_records(Path(options.records), options.dir)
    validation = options.dir / "validation.jsonl"
    words = [str(options.model), "--task", "chat", "--train", str(options.dir / "train.jsonl")]
    words += ["--validation", str(validation), "--epochs", "1", "--batch-size", "8", "--max-length", str(LENGTH)]
    loss, accuracy = held_out(options.model, validation)
    print(f"before: held-out loss {loss:.4f}, token accuracy {accuracy:.4f}", flush=True)
    for kind in options.kinds:
        started = time.perf_counter()
        (experiment,) = experiments(parse([*words, *(["--adapter.kind", "lora"] if kind == "lora" else [])])).values()
        train(experiment, options.dir / kind)
        seconds = time.perf_counter() - started
        loss, accuracy = held_out(options.dir / kind, validation)
        print(
            f"{kind}: held-out loss {loss:.4f}, token accuracy {accuracy:.4f}, {seconds / 60:.1f} minutes", flush=True
        )


if __name__ == "__main__":
    main()
