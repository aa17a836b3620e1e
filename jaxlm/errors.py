"""The errors that a user can cause: each names the thing, the place and the way out.

The command line prints `str(error)` on one line and exits with `error.exit_code`; any other exception is a bug and
keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class JaxlmError(Exception):
    """A failure with a cause that the user can act on."""

    exit_code = 1


class UsageError(JaxlmError):
    """The request itself is wrong: an unknown option, a missing file, an impossible combination of settings."""

    exit_code = 2


class DataError(JaxlmError):
    """Text, tokens or records that cannot be used as they are."""


class CheckpointError(JaxlmError):
    """A checkpoint that is missing, incomplete or not what its manifest says."""


class NonFiniteLossError(JaxlmError):
    """Training reached a loss or gradient that is not a number; the last good checkpoint is kept."""


# What the field also calls our names, options and values; where several of them are known, the first is meant.
SYNONYMS = {
    "lr": ("learning_rate",),
    "rate": ("learning_rate",),
    "bs": ("batch_size",),
    "batch": ("batch_size",),
    "per_device_train_batch_size": ("batch_size",),
    "num_train_epochs": ("epochs",),
    "max_steps": ("steps",),
    "iters": ("steps",),
    "max_iters": ("steps",),
    "max_len": ("max_length", "length"),
    "max_seq_len": ("max_length", "length"),
    "max_seq_length": ("max_length", "length"),
    "block_size": ("length", "max_length"),
    "context": ("length", "max_length"),
    "seq_len": ("length", "max_length"),
    "sequence_length": ("length", "max_length"),
    "wd": ("weight_decay",),
    "warmup": ("warmup_fraction",),
    "warmup_ratio": ("warmup_fraction",),
    "grad_clip": ("clip_norm",),
    "max_grad_norm": ("clip_norm",),
    "gradient_accumulation_steps": ("accumulation",),
    "grad_accum": ("accumulation",),
    "hidden_size": ("embed_dim",),
    "d_model": ("embed_dim",),
    "n_embd": ("embed_dim",),
    "width": ("embed_dim",),
    "n_layer": ("num_layers",),
    "n_layers": ("num_layers",),
    "num_hidden_layers": ("num_layers",),
    "depth": ("num_layers",),
    "n_head": ("num_heads",),
    "n_heads": ("num_heads",),
    "num_attention_heads": ("num_heads",),
    "intermediate_size": ("mlp_dim",),
    "vocab": ("vocab_size",),
    "dropout": ("dropout_rate",),
    "output_dir": ("dir",),
    "out": ("dir",),
    "run_dir": ("dir",),
    "train_file": ("train",),
    "validation_file": ("validation",),
    "dev": ("validation",),
    "valid": ("validation",),
    "test_file": ("test",),
    "text_file": ("files", "file"),
    "max_tokens": ("max_new_tokens",),
    "num_samples": ("samples",),
    "num_return_sequences": ("samples",),
    "beams": ("num_beams",),
    "beam_size": ("num_beams",),
    "do_sample": ("temperature",),
    "lora": ("adapter.kind", "kind"),
    "lora_r": ("rank",),
    "lora_rank": ("rank",),
    "lora_alpha": ("alpha",),
    "objective": ("task.kind", "task"),
    # values
    "ner": ("tagging",),
    "pos": ("tagging",),
    "token_classification": ("tagging",),
    "sequence_classification": ("classification",),
    "text_classification": ("classification",),
    "sentiment": ("classification",),
    "nli": ("classification",),
    "multilabel": ("multi_label",),
    "qa": ("question_answering",),
    "squad": ("question_answering",),
    "seq2seq": ("sequence_to_sequence",),
    "translation": ("sequence_to_sequence",),
    "summarization": ("summarisation", "sequence_to_sequence"),
    "summarisation": ("sequence_to_sequence",),
    "dpo": ("preference",),
    "sft": ("chat",),
    "instruction": ("chat",),
    "embedding": ("sentence_embedding",),
    "embeddings": ("sentence_embedding",),
    "contrastive": ("sentence_embedding",),
    "mlm": ("masked_lm",),
    "masked": ("masked_lm",),
    "roberta": ("masked_lm",),
    "clm": ("causal_lm",),
    "causal": ("causal_lm",),
    "gpt": ("causal_lm",),
    "lm": ("causal_lm",),
    "electra": ("replaced_token",),
    "t5": ("span_corruption",),
    "bart": ("denoising",),
    "xlnet": ("permutation_lm",),
    "fim": ("fill_in_the_middle",),
    "bf16": ("bfloat16",),
    "fp32": ("float32",),
    "adam": ("adamw",),
    "rope": ("rotary",),
    "char": ("character",),
    "unigram": ("sentencepiece",),
}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the known name that is meant or closest, else an empty string.

    What is meant is what the field calls so too (`SYNONYMS`), then an option or field of that name in some part.

    Args:
      name: what the user wrote.
      known: the names that exist.
    """
    known = list(known)
    plain = {one: _plain(one) for one in known}
    wanted = _plain(name)
    for meant in (*SYNONYMS.get(wanted, ()), *SYNONYMS.get(wanted.rpartition(".")[2], ()), wanted):
        found = [one for one in known if plain[one] == meant or plain[one].endswith(f".{meant}")]
        if found:
            return f" (did you mean {min(found, key=len)!r}?)"
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _plain(name: str) -> str:
    return name.lstrip("-").lower().replace("-", "_").replace(" ", "_")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Builds the error for a `kind` called `name` that is not one of `known`."""
    known = sorted(known)
    return UsageError(f"unknown {kind} {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
