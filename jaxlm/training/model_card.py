"""The model card of a fine-tuned model (Mitchell et al. 2019): what it is, what it was measured on, where it ends.

It begins with the YAML header that model hubs read.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxlm.experiment import Experiment
from jaxlm.run_folder import RunFolder

CARD = "README.md"
MARK = "# written by jaxlm finetune; remove this line to keep your own changes"
SPLITS = ("train", "validation", "test")
_MOST_LABELS = 50
# What the model does, the hubs' name of the task, and how it is called.
_TASKS = {
    "classification": ("gives a text, or a pair of texts, one label", "text-classification"),
    "multi_label": ("gives a text any number of labels", "text-classification"),
    "regression": ("gives a text a number", "text-classification"),
    "tagging": ("gives each word of a text a tag", "token-classification"),
    "question_answering": ("finds the answer to a question in a text", "question-answering"),
    "sequence_to_sequence": ("writes a text from a text", "text2text-generation"),
    "chat": ("answers as an assistant does", "text-generation"),
    "multiple_choice": ("chooses one of several answers", "multiple-choice"),
    "sentence_embedding": ("gives texts vectors, near where they belong together", "sentence-similarity"),
    "preference": ("was taught which of two answers is better", "text-generation"),
}
_CALLS = {
    "question_answering": 'model.predict([("a question", "the text that answers it")])',
    "multiple_choice": 'model.predict([("a text", ["one choice", "another"])])',
    "sentence_embedding": 'model.encode_text(["a text", "another"])',
    "preference": 'model.predict([("a prompt", "an answer", "another")])',
}


def write_model_card(run: RunFolder, experiment: Experiment, results: Mapping[str, Any]) -> Path:
    """Writes the card of a run; one that somebody has edited since is left alone.

    Args:
      run: the run folder.
      experiment: its experiment.
      results: of `jaxlm.finetuning`, by split.
    """
    path = run.path / CARD
    if path.exists() and not path.read_text("utf-8").startswith(f"---\n{MARK}"):
        return path
    description = json.loads(run.description.read_text("utf-8"))
    path.write_text("\n".join(card(experiment, results, description)) + "\n", "utf-8")
    return path


def card(experiment: Experiment, results: Mapping[str, Any], description: Mapping[str, Any]) -> list[str]:
    """Returns the lines of the card.

    Args:
      experiment: of the run.
      results: of `jaxlm.finetuning`, by split.
      description: what the run folder's experiment.json holds: counts of the data, versions.
    """
    model, task = experiment.model, experiment.task
    start = {"weights": "from the weights of", "shape": "from random weights in the shape of"}[experiment.start_with]
    begun = f"{start} `{Path(experiment.start_from).name}`" if experiment.start_from else "from random weights"
    parameters = description.get("parameters")
    size = f"{parameters:,} parameters, " if isinstance(parameters, int) else ""
    return [
        *_header(experiment, results),
        "",
        f"# {experiment.name}",
        "",
        f"A model that {_TASKS[task.kind][0]}. It was trained {begun}, for {experiment.steps:,} steps of "
        f"{experiment.batch_size} examples; this is step {results['step']:,}, the best by {results['best_by']} on the "
        "validation examples.",
        "",
        "```python",
        "import jaxlm",
        'model = jaxlm.load("path of this folder")',
        _CALLS.get(task.kind, 'model.predict(["a text", "another"])'),
        "```",
        "",
        f"- Architecture: {model.architecture}, {size}{model.num_layers} layers, {model.embed_dim} wide; texts of at "
        f"most {experiment.data.length} tokens, longer ones are truncated.",
        "- Licence: not stated. That of the model it began from, and of the training data, may limit its use.",
        "",
        *_data(experiment, description.get("corpus") or {}),
        "",
        *_results(results),
        "",
        *_settings(experiment, description),
        "",
        "## Limits",
        "",
        "- The checkpoint was chosen on the validation examples, so their scores are a little too good.",
        "- Nothing is known of texts unlike the training examples: another language, domain or length.",
        "- No bias or safety probe was run.",
    ]


def _header(experiment: Experiment, results: Mapping[str, Any]) -> Iterator[str]:
    """The YAML header; texts are written as JSON, which YAML reads."""
    task, pipeline = experiment.task, _TASKS[experiment.task.kind][1]
    yield from ("---", MARK, "library_name: jaxlm", f"pipeline_tag: {pipeline}", "tags:", "- jaxlm", f"- {task.kind}")
    if experiment.start_from and experiment.start_with == "weights":
        yield f"base_model: {json.dumps(Path(experiment.start_from).name)}"
    measured = [name for name in SPLITS if name in results and results[name].get("scores")]
    if measured:
        yield from ("model-index:", f"- name: {json.dumps(experiment.name)}", "  results:")
    for name in measured:
        files = _names(experiment, name) or [f"a part of {', '.join(_names(experiment, 'train'))}"]
        yield from (
            f"  - task: {{type: {pipeline}}}",
            f"    dataset: {{name: {json.dumps(', '.join(files))}, type: {json.dumps(files[0])}, split: {name}}}",
            "    metrics:",
        )
        yield from (
            f"    - {{type: {json.dumps(score)}, value: {value:.6g}}}"
            for score, value in results[name]["scores"].items()
        )
    yield "---"


def _names(experiment: Experiment, split: str) -> list[str]:
    return [Path(file).name for file in getattr(experiment.examples, split)]


def _data(experiment: Experiment, corpus: Mapping[str, Any]) -> Iterator[str]:
    """The files of each split, how many examples they gave, and how often each label occurs."""
    yield from ("## Data", "", "| split | files | examples | left out as bad records |", "|---|---|---|---|")
    counts, problems, labels = (corpus.get(name) or {} for name in ("examples", "problems", "labels"))
    for name in SPLITS:
        files = ", ".join(_names(experiment, name)) or ("a part of the training files" if name in counts else "")
        if files:
            yield f"| {name} | {files} | {_count(counts.get(name))} | {_count(problems.get(name))} |"
    train = labels.get("train") or {}
    if train:
        total = sum(train.values())
        yield from ("", "| label | training | share | validation |", "|---|---|---|---|")
        for label, count in list(train.items())[:_MOST_LABELS]:
            own = (labels.get("validation") or {}).get(label, 0)
            yield f"| {label} | {count:,} | {count / total:.1%} | {own:,} |"
        if len(train) > _MOST_LABELS:
            yield f"| {len(train) - _MOST_LABELS:,} more | | | |"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _results(results: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Results", "", "With 95 % intervals of a bootstrap over examples.", "")
    yield from ("| split | examples | score | value | interval | baseline |", "|---|---|---|---|---|---|")
    baselines = set()
    for name in SPLITS:
        split = results.get(name) or {"scores": {}}
        baseline = split.get("baseline") or {}
        for score, value in split["scores"].items():
            low, high = split["intervals"].get(score, (None, None))
            interval = "" if low is None else f"{low:.4f} to {high:.4f}"
            base = (baseline.get("scores") or {}).get(score)
            shown = "" if base is None else f"{base:.4f}"
            yield f"| {name} | {split['examples']:,} | {score} | {value:.4f} | {interval} | {shown} |"
        if baseline.get("of"):
            baselines.add(baseline["of"])
    if baselines:
        yield from ("", f"Baseline: {'; '.join(sorted(baselines))}.")


def _settings(experiment: Experiment, description: Mapping[str, Any]) -> Iterator[str]:
    optimizer, model, adapter = experiment.optimizer, experiment.model, experiment.adapter
    yield from ("## Settings", "")
    yield f"- Optimizer: {optimizer.name}, learning rate {optimizer.learning_rate:g} ({optimizer.schedule})"
    yield f"- Weight decay {optimizer.weight_decay:g}, batches of {experiment.batch_size}, {experiment.epochs:g} epochs"
    yield f"- Dropout {model.dropout_rate:g}, of attention {model.attention_dropout_rate:g}; computed in {model.dtype}"
    if adapter.kind != "none":
        yield f"- Adapter: {adapter.kind}, rank {adapter.rank}, alpha {adapter.alpha:g}"
    yield f"- Seed: {experiment.seed}"
    if isinstance(command := description.get("command"), str):
        yield f"- Command: `{command}`"
    versions = description.get("versions") or {}
    if versions:
        yield f"- Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}"
