"""The model card of a fine-tuned model (Mitchell et al. 2019): what it is, what it was measured on, where it ends."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.experiment import Experiment
from jaxlm.run_folder import RunFolder

CARD = "README.md"
_TASKS = {
    "classification": "gives a text, or a pair of texts, one label",
    "multi_label": "gives a text any number of labels",
    "regression": "gives a text a number",
    "tagging": "gives each word of a text a tag",
    "question_answering": "finds the answer to a question in a text",
    "sequence_to_sequence": "writes a text from a text",
    "chat": "answers as an assistant does",
    "multiple_choice": "chooses one of several answers",
    "sentence_embedding": "gives texts vectors, near where they belong together",
    "preference": "was taught which of two answers is better",
}


def write_model_card(run: RunFolder, experiment: Experiment, results: Mapping[str, Any]) -> Path:
    """Writes the card of a run; one that somebody has edited since is left alone.

    Args:
      run: the run folder.
      experiment: its experiment.
      results: of `jaxlm.finetuning`, by split.
    """
    path = run.path / CARD
    mark = "<!-- written by jaxlm finetune; remove this line to keep your own changes -->"
    if path.exists() and not path.read_text("utf-8").startswith(mark):
        return path
    path.write_text("\n".join([mark, *card(experiment, results)]) + "\n", "utf-8")
    return path


def card(experiment: Experiment, results: Mapping[str, Any]) -> list[str]:
    """Returns the lines of the card."""
    model, task = experiment.model, experiment.task
    start = {"weights": "from the weights of", "shape": "from random weights in the shape of"}[experiment.start_with]
    begun = f"{start} `{Path(experiment.start_from).name}`" if experiment.start_from else "from random weights"
    lines = [
        f"# {experiment.name}",
        "",
        f"A model that {_TASKS[task.kind]}. It was trained {begun}, for {experiment.steps:,} steps of "
        f"{experiment.batch_size} examples; this is step {results['step']:,}, the best by {results['best_by']} on the "
        "validation examples.",
        "",
        f"- Architecture: {model.architecture}, {model.num_layers} layers, {model.embed_dim} wide; texts of at most "
        f"{experiment.data.length} tokens, longer ones are cut.",
        f"- Seed: {experiment.seed}",
        "- Licence: not stated. That of the model it began from, and of the training data, may limit its use.",
    ]
    if task.labels:
        lines.append(f"- Labels: {', '.join(task.labels[:50])}{', ...' if len(task.labels) > 50 else ''}")
    lines += ["", "## Data", ""]
    for name in ("train", "validation", "test"):
        files = getattr(experiment.examples, name)
        if files:
            lines.append(f"- {name}: {', '.join(Path(file).name for file in files)}")
    lines += ["", "## Results", "", "With 95 % intervals of a bootstrap over examples.", ""]
    lines += ["| split | examples | score | value | interval |", "|---|---|---|---|---|"]
    for name in ("validation", "test"):
        split = results.get(name, {"scores": {}})
        for score, value in split["scores"].items():
            low, high = split["intervals"].get(score, (None, None))
            interval = "" if low is None else f"{low:.4f} to {high:.4f}"
            lines.append(f"| {name} | {split['examples']:,} | {score} | {value:.4f} | {interval} |")
    lines += [
        "",
        "## Limits",
        "",
        "- The checkpoint was chosen on the validation examples, so their scores are a little too good.",
        "- Nothing is known of texts unlike the training examples: another language, domain or length.",
        "- No bias or safety probe was run.",
    ]
    return lines
