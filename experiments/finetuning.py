"""What pretraining is worth: fine-tuning on ten tasks from random weights, and from the weights of a pretrained run.

    pip install -e '.[metrics]'
    JAXLM_DATA=/path/to/data python experiments/finetuning.py --pretrained runs/bert-mini --dir runs/finetuning \\
        [--pretrained-chinese runs/mlm-poetry] [--pretrained-t5 runs/t5-mini] \\
        [--tasks sst2 trec ewt wnut17 ...] [--seeds 3]

The pretrained runs are those of bert_mini_wikitext2.py (README.md says with how many steps), for gsd_poetry of
mlm_chinese_poetry.py, and for scitldr of t5_span_corruption_wikitext2.py; "scratch" has their tokenizer and shape
and random weights, and the same learning rate. To tell what of a pretrained model helps and what hinders, --starts also
knows "halved", whose matrices are divided by two (Ash and Adams 2020, "shrink"), and "embeddings", whose other
parameters are random. Chinese tags (gsd) and translation have models and vocabularies of their own.
Files that no reader of ours takes as they are (TREC, MR, XQuAD by article, Tatoeba by sentence) are rewritten below
--dir.
Prints a line for each setting: means over seeds with standard deviations, and the time of a run.
"""

import argparse
import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import OptimizerConfig

ENGLISH, CHINESE, T5 = "english", "chinese", "t5"  # pretrained runs
STARTS = ("scratch", "pretrained", "halved", "embeddings")

SMALL_TRANSFORMER = ModelConfig(
    architecture="encoder_decoder",
    num_layers=4,
    embed_dim=128,
    num_heads=4,
    mlp_dim=256,
    positions="rotary",
    dropout_rate=0.1,
    matmul_precision="bfloat16",
    layers="unrolled",
)
SMALL_ENCODER = replace(
    SMALL_TRANSFORMER, architecture="encoder", mlp_dim=None, window=16, layer_pattern=("local", "global")
)


@dataclass(frozen=True)
class Setting:
    """A task of the table.

    Attributes:
      task: its kind and options.
      files: makes the files and names them.
      length: most tokens of an example.
      epochs: passes over it.
      batch_size: examples of a step.
      rate: peak learning rate.
      base: the pretrained run that it may begin from, or the model that it has instead.
    """

    task: TaskConfig
    files: Callable[[Path, Path], ExamplesConfig]
    length: int
    epochs: float
    batch_size: int = 32
    rate: float = 1e-3
    base: str | ModelConfig = ENGLISH


def plain(train: str, validation: str) -> Callable[[Path, Path], ExamplesConfig]:
    """Files that are read as they are."""
    return lambda data, work: ExamplesConfig((str(data / train),), (str(data / validation),))


def is_held_out(text: str, part: float = 0.1) -> bool:
    """Whether a hash of a text says that it is held out."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) < part * 2**32


def written(work: Path, name: str, lines: Iterable[tuple[str, str]]) -> ExamplesConfig:
    """Writes (key, line) to train and validation files by a hash of the key."""
    work.mkdir(parents=True, exist_ok=True)
    parts: tuple[list[str], list[str]] = ([], [])
    for key, line in lines:
        parts[is_held_out(key)].append(line)
    paths = [work / f"{name}-{part}.tsv" for part in ("train", "validation")]
    for path, own in zip(paths, parts, strict=True):
        path.write_text("".join(f"{line}\n" for line in own), "utf-8")
    return ExamplesConfig((str(paths[0]),), (str(paths[1]),), header="no")


def trec(data: Path, work: Path) -> ExamplesConfig:
    """`COARSE:fine question`, latin-1; a tenth held out, by the question."""
    rows = [line.split(" ", 1) for line in (data / "trec/TREC.train").read_text("latin-1").splitlines()]
    return written(work, "trec", ((text, f"{text}\t{label.split(':')[0]}") for label, text in rows))


def movie_reviews(data: Path, work: Path) -> ExamplesConfig:
    """A file for each polarity, latin-1; a tenth held out, by the sentence."""
    lines = [
        (text, f"{text.strip()}\t{polarity}")
        for polarity in ("neg", "pos")
        for text in (data / f"mr_polarity/rt-polarity.{polarity}").read_text("latin-1").split("\n")
        if text.strip()
    ]
    return written(work, "mr", lines)


def xquad(data: Path, work: Path) -> ExamplesConfig:
    """The first 38 of the 48 articles to learn from, the last 10 to validate on."""
    articles = json.loads((data / "xquad/xquad.en.json").read_text("utf-8"))["data"]
    work.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", articles[:38]), ("validation", articles[38:])):
        (work / f"xquad-{name}.json").write_text(json.dumps({"data": part}), "utf-8")
    return ExamplesConfig((str(work / "xquad-train.json"),), (str(work / "xquad-validation.json"),))


def tatoeba(data: Path, work: Path) -> ExamplesConfig:
    """English to Chinese; a twentieth of the distinct English sentences held out."""
    rows = [line.split("\t")[:2] for line in (data / "tatoeba_eng_cmn/cmn.txt").read_text("utf-8").splitlines()]
    return written(work, "tatoeba", ((source, f"{source}\t{target}") for source, target in rows))


def multi30k(data: Path, work: Path) -> ExamplesConfig:
    """English to German."""
    folder = data / "multi30k"
    train, validation, test = (
        tuple(str(folder / f"{name}.{language}.gz") for language in ("en", "de"))
        for name in ("train", "val", "test_2016_flickr")
    )
    return ExamplesConfig(train, validation, test, format="parallel")


GSD = plain("ud_chinese_gsd/zh-ud-train.conllu", "ud_chinese_gsd/zh-ud-dev.conllu")
TRANSLATION = TaskConfig("sequence_to_sequence", label_smoothing=0.1)

SETTINGS = {
    "sst2": Setting(TaskConfig("classification"), plain("sst2/train.tsv", "sst2/dev.tsv"), 64, 4),
    "trec": Setting(TaskConfig("classification"), trec, 48, 6),
    "ewt": Setting(
        TaskConfig("tagging"),
        plain("ud_english_ewt/en_ewt-ud-train.conllu", "ud_english_ewt/en_ewt-ud-dev.conllu"),
        96,
        3,
    ),
    "wnut17": Setting(TaskConfig("tagging"), plain("wnut17/wnut17train.conll", "wnut17/emerging.dev.conll"), 96, 6),
    "mr": Setting(TaskConfig("classification"), movie_reviews, 64, 4),
    "gsd": Setting(TaskConfig("tagging"), GSD, 160, 8, base=SMALL_ENCODER),
    "gsd_poetry": Setting(TaskConfig("tagging"), GSD, 160, 8, base=CHINESE),
    "xquad": Setting(TaskConfig("question_answering"), xquad, 192, 8, 16),
    "multi30k": Setting(TRANSLATION, multi30k, 64, 10, 64, 3e-3, SMALL_TRANSFORMER),
    "tatoeba": Setting(replace(TRANSLATION, bleu_tokenizer="zh"), tatoeba, 48, 16, 64, 3e-3, SMALL_TRANSFORMER),
    "scitldr": Setting(
        replace(TRANSLATION, text_score="summarisation"),
        plain("scitldr_a/train.jsonl", "scitldr_a/dev.jsonl"),
        256,
        10,
        16,
        base=T5,
    ),
}


def changed(pretrained: str, start: str, folder: Path) -> str:
    """Returns the folder of the model to begin from: a pretrained run, or a copy of it that is written to `folder`."""
    if start in ("scratch", "pretrained"):
        return pretrained
    if not folder.exists():
        import jax
        from flax.linen import unbox

        import jaxlm
        from jaxlm.models.model import init_params

        model = jaxlm.load(pretrained)
        if start == "halved":
            params = jax.tree.map(lambda leaf: leaf / 2 if leaf.ndim > 1 else leaf, model.params)
        else:
            kept = {name: own for name, own in model.params.items() if name.endswith("embedding")}
            params = unbox(init_params(model.config, jax.random.key(0))) | kept
        jaxlm.LanguageModel(model.experiment, params, model.tokenizer, model.step).save(folder)
    return str(folder)


def experiment_of(name: str, start: str, setting: Setting, examples: ExamplesConfig, pretrained: str) -> Experiment:
    """The experiment of a setting, with seed 0, from the folder of a pretrained run: its shape, or its weights too."""
    base = Experiment(
        name=f"{name}-{start}",
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        log_every=50,
        sample_every=0,
        data=DataConfig(source="examples", length=setting.length),
        examples=examples,
        task=setting.task,
        optimizer=OptimizerConfig(
            learning_rate=setting.rate,
            schedule="linear",
            warmup_fraction=0.1,
            final_fraction=0.0,
            weight_decay=0.01,
            beta2=0.999,
        ),
        evaluation=EvaluationConfig(batch_size=64),
    )
    if isinstance(setting.base, ModelConfig):
        around = ("[CLS]", "[SEP]") if setting.base is SMALL_ENCODER else ()
        pieces = TokenizerConfig("sentencepiece", vocab_size=6000, special_tokens=around)
        return replace(base, model=setting.base, tokenizer=pieces)
    return replace(
        base,
        start_from=pretrained,
        start_with="shape" if start == "scratch" else "weights",
        model_changes={"dropout_rate": 0.1, "pooling": "mean"},
    )


def main() -> None:
    """Runs what was asked for and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained", default="", help="run folder of bert_mini_wikitext2.py")
    parser.add_argument("--pretrained-chinese", default="", help="run folder of mlm_chinese_poetry.py")
    parser.add_argument("--pretrained-t5", default="", help="run folder of t5_span_corruption_wikitext2.py")
    parser.add_argument("--dir", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--tasks", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS[:2])
    parser.add_argument("--learning-rate", type=float, help="another one than the setting's, for all that is asked for")
    options = parser.parse_args()

    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    from jaxlm.finetuning import finetune

    data = Path(os.environ.get("JAXLM_DATA", "data"))
    for name in options.tasks:
        setting = SETTINGS[name]
        if options.learning_rate:
            setting = replace(setting, rate=options.learning_rate)
        examples = setting.files(data, options.dir / "files")
        pretrained = ""
        if isinstance(setting.base, str):
            runs = {ENGLISH: options.pretrained, CHINESE: options.pretrained_chinese, T5: options.pretrained_t5}
            pretrained = runs[setting.base]
            if not pretrained:
                parser.error(f"{name} needs the run folder of a pretrained {setting.base} model")
        for start in options.starts if pretrained else ("scratch",):
            results, times = [], []
            begin = changed(pretrained, start, options.dir / f"{setting.base}-{start}") if pretrained else ""
            for seed in range(options.seeds):
                run = replace(experiment_of(name, start, setting, examples, begin), seed=seed)
                begun = time.perf_counter()
                results.append(finetune(run, options.dir / name / start / f"seed-{seed}"))
                times.append(time.perf_counter() - begun)
            for split in results[0].splits:
                own = [result.splits[split] for result in results]
                shown = [
                    f"{score} {statistics.fmean(values):.4f} +- {statistics.stdev(values) if len(own) > 1 else 0:.4f}"
                    for score in own[0].scores
                    for values in [[result.scores[score] for result in own]]
                ]
                low, high = own[0].intervals[own[0].main]
                print(
                    f"RESULT {name} {start} {split} ({own[0].examples:,} examples, {len(own)} seeds): "
                    f"{', '.join(shown)}; 95 % of {own[0].main} over examples, seed 0: {low:.4f} to {high:.4f}; "
                    f"{min(times):.0f} to {max(times):.0f} s a run",
                    flush=True,
                )


if __name__ == "__main__":
    main()
