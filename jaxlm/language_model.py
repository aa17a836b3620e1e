"""A trained language model, loaded: what a notebook or any verb but `train` works with."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import jax

from jaxlm.data.cache import digest, file_sha256
from jaxlm.data.config import DataConfig
from jaxlm.data.corpus import prepare_corpus
from jaxlm.data.evaluation_rows import EvaluationRows
from jaxlm.data.sources import documents as source_documents
from jaxlm.data.sources import source_files
from jaxlm.data.token_stream import prepare_token_stream
from jaxlm.errors import CheckpointError, DataError
from jaxlm.evaluation.perplexity import Perplexity, make_row_losses, summarize
from jaxlm.experiment import Experiment
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.generation.text import generate_text, stream_text
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.models.model import apply_model
from jaxlm.models.output import ModelOutput
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.text.tokenizer import Tokenizer, load_tokenizer
from jaxlm.training.checkpoints import Checkpoints


class LanguageModel:
    """Parameters with what is needed to use them.

    Attributes:
      experiment: the resolved experiment that trained them.
      params: nested dict of float32 arrays.
      tokenizer: between text and ids.
      step: the checkpoint's number of updates.
    """

    def __init__(self, experiment: Experiment, params: dict, tokenizer: Tokenizer, step: int):
        self.experiment = experiment
        self.params = params
        self.tokenizer = tokenizer
        self.step = step

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.experiment.model

    @cached_property
    def generator(self) -> TokenGenerator:
        """The parameters laid out for decoding; made at first use, and a second copy of them in memory."""
        return TokenGenerator(self.config, self.params)

    def apply(self, tokens: jax.Array, **arguments: Any) -> ModelOutput:
        """Hidden states, logits and whatever else the model gives for tokens [batch, time].

        The other arguments are those of the model: `segment_ids`, `positions`, `cache`; of an encoder also
        `token_types`; of two towers also `encoder_tokens`, `encoder_segment_ids` (see `jaxlm.models`).
        """
        return apply_model(self.config, self.params, tokens, **arguments)

    def generate(self, prompts: str | Sequence[str], options: GenerationConfig | None = None, **fields: Any) -> Any:
        """Continues one prompt (giving a string) or several (giving a list), without repeating them.

        Args:
          prompts: text.
          options: how.
          **fields: single fields of it, as in `generate("To be", temperature=0.8, max_new_tokens=100)`.

        Raises:
          UsageError: an empty prompt, or one longer than the context.
          DataError: a prompt that the tokenizer cannot represent.
        """
        options = replace(options or GenerationConfig(), **fields)
        if isinstance(prompts, str):
            return generate_text(self.generator, self.tokenizer, [prompts], options)[0]
        return generate_text(self.generator, self.tokenizer, list(prompts), options)

    def stream(self, prompt: str, options: GenerationConfig | None = None, **fields: Any) -> Iterator[str]:
        """Yields the continuation of one prompt piece by piece; see `generate`."""
        pieces = stream_text(self.generator, self.tokenizer, [prompt], replace(options or GenerationConfig(), **fields))
        return (piece[0] for piece in pieces)

    def evaluate(
        self,
        files: Sequence[str] | None = None,
        split: Literal["validation", "train"] = "validation",
        stride: int | None = None,
        batch_size: int = 64,
    ) -> Perplexity:
        """Measures the loss over a whole text, each token once.

        Args:
          files: paths and globs of text files; none means a split of the text that the model was trained with.
          split: which one.
          stride: tokens between successive windows; none means their length, a smaller one gives more context.
          batch_size: rows at a time; the result does not depend on it.

        Raises:
          UsageError: files that are not there, or a stride longer than a window.
          DataError: text that cannot be read or represented.
        """
        data = self.experiment.data
        if files is None:
            corpus = prepare_corpus(data)
            documents, identity = getattr(corpus, split), f"{corpus.fingerprint}/{split}"
        else:
            own = DataConfig(source="text", files=tuple(files))
            documents = (document["text"] for document in source_documents(own))
            identity = digest([file_sha256(path) for path in source_files(own)])
        stream = prepare_token_stream(documents, identity, self.tokenizer, data.cache_dir)
        blocks = data.batching == "blocks"
        rows = EvaluationRows(stream, data.length, stride, across_documents=blocks)
        score = jax.jit(make_row_losses(CausalLM(self.config, segmented=not blocks)))
        return summarize((score(self.params, batch) for batch in rows.batches(batch_size)), rows.text_bytes)


def load(path: str | os.PathLike, step: int | Literal["best", "latest"] = "best") -> LanguageModel:
    """Loads a model from its run folder onto the first device.

    Args:
      path: the run folder.
      step: which checkpoint: a number of updates, 'latest', or 'best' by validation loss.

    Raises:
      UsageError: if the folder is none.
      CheckpointError: if the checkpoint is missing or corrupt.
      DataError: if another file of the folder is damaged.
    """
    run = RunFolder(path)
    experiment = run.read_experiment()
    tokenizer = load_tokenizer(run.tokenizer)
    if tokenizer.vocab_size > (experiment.model.vocab_size or 0):
        raise DataError(
            f"{run.tokenizer} has {tokenizer.vocab_size} tokens and the model {experiment.model.vocab_size}: it is not "
            "the tokenizer that the model was trained with"
        )
    checkpoints = Checkpoints(run.checkpoints)
    if step == "best":
        chosen = checkpoints.best_step()
    elif step == "latest":
        chosen = checkpoints.latest_step()
    else:
        chosen = step
    if chosen is None:
        raise CheckpointError(f"{run.path} has no checkpoint yet: train until the first one is written")
    abstract = abstract_params(experiment.model)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    params = checkpoints.load_params(abstract, jax.tree.map(lambda _: device, abstract), chosen)
    return LanguageModel(experiment, params, tokenizer, chosen)
