"""What an experiment takes where nothing is named: by what is learned, and by how much text there is to learn it from.

The models are small ones that a laptop trains in minutes, each of a make that a Hugging Face family has, so that it can
be exported: ModernBERT, BERT, ELECTRA, T5, BART, XLNet, GPT-2 and Llama.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from jaxlm.data.config import DataConfig
from jaxlm.data.sources import source_files
from jaxlm.errors import UsageError
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.models.presets import bart, bert, electra, llama, modernbert, preset, t5, xlnet
from jaxlm.tasks.config import LABELLED, TaskConfig
from jaxlm.text.config import TokenizerConfig, TokenizerKind

SMALL_TEXT = 4_000_000  # bytes; characters are enough for less
AROUND = ("[CLS]", "[SEP]", "[MASK]")
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(32))
# Ids that an objective needs beside those of the text; encoders have those of AROUND.
SPECIAL = {
    "span_corruption": SENTINELS,
    "ul2": ("[R]", "[S]", "[X]", *SENTINELS),
    "denoising": ("[MASK]",),
    "fill_in_the_middle": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
}
# Published sizes and lengths give way to those of the run; few layers compile quickly, and run faster unrolled.
SMALL: dict[str, Any] = {
    **{"vocab_size": None, "max_length": None, "layers": "unrolled"},
    **{"dropout_rate": 0.0, "attention_dropout_rate": 0.0},
}


def experiment_on_text(
    kind: str = "", files: Sequence[str] = (), name: str = "", tokenizer: str | None = None, preset: str = ""
) -> Experiment:
    """Returns the experiment of `jaxlm train` where no file of one says another.

    Args:
      kind: task.kind; none takes what the preset was pretrained by, and without one "causal_lm".
      files: paths and globs of text, or of JSON Lines; none takes the corpus in the package.
      name: title of the run.
      tokenizer: kind of the tokenizer; none takes one that suits the size of the text.
      preset: the published model whose make and size a new one has; none takes a small one that suits the task.

    Raises:
      UsageError: a file that is not there, one that holds no text, an unknown preset, or one for labelled examples.
    """
    kind = kind or (pretraining_of(preset) if preset else "causal_lm")
    data = DataConfig(source=_source(files), files=tuple(files)) if files else DataConfig()
    size = sum(path.stat().st_size for path in source_files(data)) if files else 1_100_000
    base = Experiment(name=name or ("gpt" if kind == "causal_lm" else kind), data=data)
    if kind in LABELLED and preset:
        raise UsageError(
            f"task.kind {kind!r} learns from labelled examples: jaxlm finetune --task {kind} --preset {preset} --train "
            "FILE"
        )
    if kind in LABELLED:  # its own data.source belongs to it, which nothing has named yet
        return base
    task = TaskConfig(kind)  # type: ignore[arg-type]  # one of TaskKind, as the command line has checked
    if kind == "bert":  # pairs are of sentences of one document or of two
        split = data.source == "text"
        data = replace(data, document="paragraph", split="document") if split else data
        task = task if files else replace(task, sentence_pairs="order")  # the corpus in the package is one document
    optimizer = replace(base.optimizer, final_fraction=0.0)
    data = replace(data, length=128)
    if not files and kind == "causal_lm" and not preset:
        return replace(base, tokenizer=_of_kind(base.tokenizer, tokenizer))
    if kind in ("causal_lm", "fill_in_the_middle") and size < SMALL_TEXT and not preset:
        own = _of_kind(TokenizerConfig(special_tokens=SPECIAL.get(kind, ())), tokenizer)
        model = replace(base.model, layers="unrolled")
        return replace(base, model=model, tokenizer=own, data=data, task=task, optimizer=optimizer)
    model = preset_for(preset, data.length) if preset else model_for(kind)
    if kind == "replaced_token" and not model.generator_heads:
        model = replace(model, generator_heads=max(1, model.num_heads // 4))  # Clark et al. 2020, section 3.2
    return replace(
        base,
        task=task,
        model=model,
        tokenizer=tokenizer_for(model, kind, tokenizer),
        data=data,
        batch_size=16,
        optimizer=optimizer,
    )


def _source(files: Sequence[str]) -> Literal["text", "jsonl"]:
    suffixes = {Path(file.removesuffix(".gz")).suffix for file in files}
    tables = suffixes & {".csv", ".tsv", ".conll", ".conllu"}
    if tables:
        raise UsageError(
            f"{', '.join(files)}: {', '.join(sorted(tables))} files hold labelled examples: jaxlm finetune --train "
            "FILE learns from them; jaxlm train takes text files and JSON Lines"
        )
    json = suffixes & {".jsonl", ".ndjson"}
    if json and len(suffixes) > 1:
        raise UsageError(f"{', '.join(files)}: text files and JSON Lines; name files of one kind")
    return "jsonl" if json else "text"


def model_for(kind: str) -> ModelConfig:
    """Returns a small new model for what is learned.

    Args:
      kind: task.kind, of text or of labelled examples.
    """
    if kind == "bert":
        return replace(bert(2, 128, 4), **SMALL)
    if kind == "replaced_token":
        return replace(electra(4, 256, 4, 256, generator=False), **SMALL, generator_heads=1, token_types=2)
    if kind in ("span_corruption", "ul2", "prefix_lm", "sequence_to_sequence"):
        return replace(t5(3, 128, 4, 512, head_dim=32), **SMALL)
    if kind == "denoising":
        return replace(bart(3, 128, 4), **SMALL, mlp_dim=512)
    if kind == "permutation_lm":
        return replace(xlnet(4, 128, 4), **SMALL)
    if kind in ("causal_lm", "fill_in_the_middle", "chat", "preference"):
        return replace(llama(4, 256, 4, 704, head="tied"), **SMALL)
    # Rotary positions and windows learn from little text far sooner than BERT's table (experiments/README.md).
    return replace(modernbert(2, 128, 4, 256), **SMALL, window=16, pooling="mean")


def pretraining_of(name: str) -> str:
    """Returns the task.kind by which a published model was pretrained.

    Raises:
      UsageError: an unknown name, or a model that learned from pairs of texts.
    """
    model = preset(name)
    if model.task_head in ("pretraining", "replaced_token"):
        return "bert" if model.task_head == "pretraining" else "replaced_token"
    if model.architecture != "encoder_decoder":
        return {"encoder": "masked_lm", "permutation": "permutation_lm"}.get(model.architecture, "causal_lm")
    if model.family in ("t5", "mt5"):
        return "span_corruption"
    if model.family in ("bart", "mbart"):
        return "denoising"
    raise UsageError(
        f"{name} learned from pairs of texts, and a text has none: jaxlm finetune --task sequence_to_sequence --preset "
        f"{name} --train FILE, or name another --task.kind"
    )


def preset_for(name: str, length: int) -> ModelConfig:
    """Returns a published make and size, without its vocabulary, for rows of `length` tokens.

    Raises:
      UsageError: an unknown name.
    """
    model = preset(name)
    return replace(model, vocab_size=None, max_length=max(model.max_length or 0, length))


def tokenizer_for(model: ModelConfig, kind: str, tokenizer: str | None = None) -> TokenizerConfig:
    """Returns the tokenizer that a new model learns.

    Args:
      model: the model.
      kind: task.kind, which may need ids of its own.
      tokenizer: its kind; none takes WordPiece for encoders, and SentencePiece for others. WordPiece lower-cases as
        BERT does, but for tagging, where capitals tell names.
    """
    if model.architecture == "encoder":
        plain = TokenizerConfig("wordpiece", special_tokens=AROUND, lowercase=kind != "tagging")
        return _of_kind(plain, tokenizer)
    return _of_kind(TokenizerConfig("sentencepiece", special_tokens=SPECIAL.get(kind, ())), tokenizer)


def _of_kind(config: TokenizerConfig, kind: str | None) -> TokenizerConfig:
    """The tokenizer of the kind that was named, if one was, with the special tokens."""
    if kind is None or kind not in get_args(TokenizerKind):
        return config
    return TokenizerConfig(kind, special_tokens=() if kind == "folder" else config.special_tokens)  # type: ignore[arg-type]
