"""A language model, loaded from a run or imported: what a notebook or any verb but `train` works with."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.batch import Batch
from jaxlm.data.cache import digest, file_sha256
from jaxlm.data.config import DataConfig
from jaxlm.data.corpus import prepare_corpus
from jaxlm.data.examples.example import Example, ExampleSet, first_problem
from jaxlm.data.examples.reading import read_examples, unlabelled_examples
from jaxlm.data.examples.tables import is_table, table_records, write_table
from jaxlm.data.sources import documents as source_documents
from jaxlm.data.sources import source_files
from jaxlm.errors import DataError, UsageError
from jaxlm.evaluation.perplexity import Perplexity, Split, make_row_sums, measure
from jaxlm.evaluation.results import SplitResult
from jaxlm.evaluation.scoring import ExampleScorer, measure_examples, scored_rows
from jaxlm.evaluation.sizes import batch_tokens, window_length
from jaxlm.experiment import Experiment
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.generation.text import generate_text, stream_text
from jaxlm.generation.written_texts import write_texts
from jaxlm.hub.directory import ComputeDtype, require_empty, write_directory
from jaxlm.hub.files import whole_folder
from jaxlm.hub.imported import Imported
from jaxlm.hub.weights import MAX_SHARD_BYTES
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.config import ModelConfig
from jaxlm.models.inspection import inspect
from jaxlm.models.model import apply_model
from jaxlm.models.output import ModelOutput
from jaxlm.nn.taps import Edit
from jaxlm.parallel.compiled import keep_compiled
from jaxlm.parallel.hardware import memory_bytes
from jaxlm.prediction.config import Pooling, VectorConfig
from jaxlm.prediction.examples import predict_rows
from jaxlm.prediction.masks import Filling, fill_masks
from jaxlm.prediction.prediction import Prediction, as_example, as_prediction
from jaxlm.prediction.vectors import encode_text
from jaxlm.progress import Progress, counted, working
from jaxlm.run_folder import RunFolder, identity
from jaxlm.tasks.config import LABELLED
from jaxlm.tasks.labelled import EncodedRow, LabelledSplit, padding_of
from jaxlm.tasks.make import TALKS, LabelledTask, make_labelled_task, make_task
from jaxlm.tasks.preference import Preference, reference_log_probabilities, with_reference
from jaxlm.text.tokenizer import Tokenizer
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.hooks import Moment
from jaxlm.training.state import TrainState
from jaxlm.training.stored import COPIED_AT_ONCE, read_stored


class LanguageModel:
    """Parameters with what is needed to use them.

    Attributes:
      experiment: the resolved experiment that trained them; of an imported model, its description and data.source
        'none'.
      params: nested dict of arrays: float32, or the types that they were imported in.
      step: the checkpoint's number of updates; 0 for an imported model.
      imported: what it keeps of the directory that it was imported from.
      last_seed: what the last `generate` or `stream` drew its texts by; None if it drew nothing.
    """

    def __init__(
        self,
        experiment: Experiment,
        params: dict,
        tokenizer: Tokenizer | None,
        step: int,
        imported: Imported | None = None,
    ):
        self.experiment = experiment
        self.params = params
        self.step = step
        self.imported = imported or Imported()
        self.last_seed: int | None = None
        self._tokenizer = tokenizer

    @classmethod
    def at(cls, moment: Moment) -> "LanguageModel":
        """Returns the model of a run as it is after one of its steps, for a hook to measure or to generate with.

        Its arrays are those of the run, which the next step takes back: `save` or copy what is to outlive the hook.
        """
        merged = replace(moment.experiment, adapter=AdapterConfig())  # as those parameters are
        return cls(merged, moment.params, moment.tokenizer, moment.step)

    def __repr__(self) -> str:
        config, size = self.config, sum(leaf.size for leaf in jax.tree.leaves(self.params))
        told = f"{config.architecture}, {config.num_layers} layers, {config.embed_dim} wide, {size:,} parameters"
        labels = f", {len(self.labels)} labels" if self.labels else ""
        vocabulary = f", vocabulary {config.vocab_size:,}, context {config.max_length:,}"
        return f"LanguageModel({self.experiment.name!r}: {told}{vocabulary}{labels}, step {self.step:,})"

    @property
    def token_ids(self) -> Mapping[str, Any]:
        """Ids of special tokens under the names of config.json, as the model was imported with."""
        return self.imported.token_ids

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a classifier's labels, if it has any."""
        return self.imported.labels or self.experiment.task.labels

    @property
    def tokenizer(self) -> Tokenizer:
        """Between text and ids.

        Raises:
          UsageError: the directory that the model was imported from has none.
        """
        if self._tokenizer is None:
            raise UsageError(f"the model {self.experiment.name!r} came without a tokenizer: work with ids, by `apply`")
        return self._tokenizer

    @property
    def generation(self) -> GenerationConfig:
        """How `generate` works unless told otherwise: as the directory of an imported model says, else our defaults."""
        return self.experiment.sampling if self.experiment.data.source == "none" else GenerationConfig()

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.experiment.model

    @cached_property
    def generator(self) -> TokenGenerator:
        """The parameters laid out for decoding; made at first use, and a second copy of them in memory."""
        return TokenGenerator(self.config, self.params)

    def apply(self, tokens: jax.Array | None, **arguments: Any) -> ModelOutput:
        """Hidden states, logits and whatever else the model gives for tokens [batch, time].

        The other arguments are those of the model: `segment_ids`, `positions`, `cache`, and `embeddings` [batch, time,
        width] in place of tokens (None); of an encoder also `token_types`; of two towers also `encoder_tokens`,
        `encoder_segment_ids`, `encoder_embeddings` (see `jaxlm.models`).

        Raises:
          UsageError: tokens that are no [batch, time] array of ids of the vocabulary, or more than the context takes.
        """
        return apply_model(self.config, self.params, self._checked(tokens, arguments), **arguments)

    def inspect(
        self,
        tokens: jax.Array | str | None,
        see: str | Sequence[str] = "*",
        edits: Mapping[str, Edit] | None = None,
        **arguments: Any,
    ) -> tuple[ModelOutput, dict[str, jax.Array]]:
        """Runs the model, shows its activations by name, and changes them on the way; docs/inspection.md has examples.

        Args:
          tokens: [batch, time] ids, or a text: a decoder's prompt, an encoder's whole text, two towers' source.
          see: pattern or patterns of names, such as "layers/*/hidden_states"; see `jaxlm.models.inspection.inspect`.
          edits: what becomes of activations, by name: `jaxlm.nn.taps.Edit`s.
          **arguments: as for `apply`.

        Raises:
          UsageError: a name that the model has no activation for; tokens as for `apply`.
          ValueError: an edit that does not fit the shape of its activation.

        Returns:
          The output of the changed model, and the activations that were asked for.
        """
        if isinstance(tokens, str):
            tokens = self._read(tokens, arguments)
        patterns = (see,) if isinstance(see, str) else tuple(see)
        return inspect(self.config, self.params, self._checked(tokens, arguments), patterns, edits, **arguments)

    def _read(self, text: str, arguments: dict[str, Any]) -> jax.Array:
        """A text as this model was taught to read it: begun, whole, or the source of an output that begins."""
        if self.config.architecture in ("decoder", "lstm"):
            return jnp.asarray([self.tokenizer.encode_prompt(text)], jnp.int32)
        whole = jnp.asarray([self.tokenizer.encode_for_model(text).ids], jnp.int32)
        if self.config.architecture != "encoder_decoder":
            return whole
        arguments.setdefault("encoder_tokens", whole)
        return jnp.full((1, 1), self.config.decoder_start_id or 0, jnp.int32)

    def _checked(self, tokens: jax.Array | None, arguments: dict[str, Any]) -> jax.Array | None:
        """The ids that a call is given, checked, and so the other arguments."""
        if arguments.get("embeddings") is not None and self.config.architecture in ("lstm", "permutation"):
            raise UsageError(f"a model of the architecture {self.config.architecture!r} takes tokens only")
        if tokens is None:
            if arguments.get("embeddings") is None:
                raise UsageError("give tokens, [batch, time] ids, or embeddings, [batch, time, width]")
            return None
        tokens = _checked_tokens(tokens, self.config, "tokens", "positions" in arguments or "cache" in arguments)
        if self.config.architecture == "encoder_decoder":
            source = arguments.get("encoder_tokens")
            if source is None and "cache" not in arguments and "encoder_embeddings" not in arguments:
                raise UsageError("the model has an encoder: give encoder_tokens as well, [batch, encoder_time]")
            if source is not None:
                arguments["encoder_tokens"] = _checked_tokens(
                    source, self.config, "encoder_tokens", "encoder_positions" in arguments
                )
        for name in ("segment_ids", "positions", "token_types"):
            if arguments.get(name) is not None:
                arguments[name] = jnp.asarray(arguments[name])
                if arguments[name].shape != tokens.shape:
                    raise UsageError(f"{name} have the shape {arguments[name].shape}, and the tokens {tokens.shape}")
        return tokens

    def generate(
        self,
        prompts: str | Sequence[str],
        options: GenerationConfig | None = None,
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] | str | None = None,
        num_beams: int | None = None,
        **others: Any,
    ) -> Any:
        """Continues one prompt (giving a string) or several (giving a list), without repeating them.

        Args:
          prompts: text.
          options: how; none takes `self.generation`.
          max_new_tokens: tokens generated at most, for each prompt; this and what follows is taken from `options` where
            it is None.
          temperature: divides the logits before sampling; 0 takes the most likely token (greedy).
          top_k: sample among the k most likely tokens only; 0 means all.
          top_p: sample among the most likely tokens that together have this probability.
          seed: gives the same text again; where neither it nor that of `options` is given, one is drawn, which
            `self.last_seed` keeps.
          stop: texts that end the generation.
          num_beams: texts that beam search follows at once; needs temperature 0.
          **others: further fields of `GenerationConfig`.

        Raises:
          UsageError: an empty prompt, or one longer than the context; a name that is none of these.
          DataError: a prompt that the tokenizer cannot represent.
        """
        given: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
        }
        given |= {"seed": seed, "stop": stop, "num_beams": num_beams}
        options = self._options(options, {name: own for name, own in given.items() if own is not None} | others)
        several = [prompts] if isinstance(prompts, str) else list(prompts)
        with working("generating"):
            texts = generate_text(self.generator, self.tokenizer, several, options)
        return texts[0] if isinstance(prompts, str) else texts

    def stream(self, prompt: str, options: GenerationConfig | None = None, **fields: Any) -> Iterator[str]:
        """Yields the continuation of one prompt piece by piece; `fields` are the named arguments of `generate`."""
        rows = stream_text(self.generator, self.tokenizer, [prompt], self._options(options, fields))
        pieces = (row[0] for row in rows)

        def texts() -> Iterator[str]:
            with working("reading the prompt"):  # and compiling
                first = next(pieces, "")
            yield first
            yield from pieces

        return texts()

    def _options(self, options: GenerationConfig | None, fields: Mapping[str, Any]) -> GenerationConfig:
        """The settings of a call, with the seed that `last_seed` keeps."""
        options = (options or self.generation).changed(fields).seeded()
        self.last_seed = options.seed
        return options

    def encode_text(
        self,
        texts: str | Sequence[str],
        pooling: Pooling | None = None,
        truncate: bool | None = None,
        batch_size: int = 32,
        normalize: bool | None = None,
    ) -> np.ndarray:
        """Computes a vector [embed_dim] for one text, or an array [texts, embed_dim] for several.

        Where neither says otherwise, a directory of sentence-transformers does as its files say: pooling, length 1,
        the longest text, lower case, what is put before a text.

        Args:
          texts: text.
          pooling: what of the last layer is taken: 'mean' of all tokens, 'cls', 'last' (for decoders), 'pooler' and
            others; see `jaxlm.prediction.config`. None takes what a directory of sentence-transformers says or a model
            of sentence_embedding was trained with, and of others the mean.
          truncate: whether to cut texts that are longer than the model takes; None cuts where a directory of
            sentence-transformers says how long a text may be, and else refuses them.
          batch_size: texts at a time; the result does not depend on it.
          normalize: whether vectors have length 1; None as the directory says, else not.

        Raises:
          UsageError: a pooling that the model lacks, or a text that is empty or too long.
          DataError: a text that the tokenizer cannot represent.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        settings = self.vectors
        if pooling is not None:
            settings = replace(settings, pooling=(pooling,))
        if normalize is not None:
            settings = replace(settings, normalize=normalize)
        cut = settings.max_length is not None if truncate is None else truncate
        vectors = encode_text(self.config, self.params, self.tokenizer, several, settings, cut, batch_size)
        return vectors[0] if isinstance(texts, str) else vectors

    @property
    def vectors(self) -> VectorConfig:
        """How `encode_text` makes a vector of a text unless told otherwise."""
        if self.imported.vectors is not None:
            return self.imported.vectors
        if self.experiment.task.kind != "sentence_embedding":
            return VectorConfig()
        own: dict[str, Pooling] = {"mean": "mean", "first": "cls", "last": "last"}
        return VectorConfig(pooling=(own[self.config.pooling],))

    def fill_mask(self, text: str, top_k: int = 5) -> list[Filling] | list[list[Filling]]:
        """Returns the best tokens for a mask, as (token, probability, whole text); for several masks, a list each.

        Args:
          text: as in `fill_mask("The [MASK] sat")`, with the mask token of the model's tokenizer.
          top_k: tokens for each mask.

        Raises:
          UsageError: the model is no masked language model, or the text has no mask or is too long.
          DataError: a text that the tokenizer cannot represent.
        """
        fillings = fill_masks(self.config, self.params, self.tokenizer, text, top_k)
        return fillings[0] if len(fillings) == 1 else fillings

    def evaluate(self, files: Any = None, split: str = "validation", **options: Any) -> Perplexity | SplitResult:
        """Measures the model at what it was trained for: text it predicts, or labelled examples.

        Args:
          files: a path or glob, or several; of a fine-tuned model also a table in memory (a DataFrame, a
            `datasets.Dataset`, a list of dicts). None means a split of the data that the model was trained with.
          split: which one.
          **options: of `evaluate_text` (stride, length, batch_size) or `evaluate_files` (batch_size).

        Raises:
          UsageError, DataError: as those.
        """
        labelled = self.experiment.task.kind in LABELLED
        measure_by: Callable[..., Perplexity | SplitResult] = self.evaluate_files if labelled else self.evaluate_text
        return measure_by(files, split, **options)

    def evaluate_text(
        self,
        files: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
        split: Literal["validation", "train"] = "validation",
        stride: int | None = None,
        batch_size: int = 64,
        length: int | None = None,
    ) -> Perplexity:
        """Measures the loss over a whole text, each token once.

        Args:
          files: a path or glob of text files, or several; none means a split of the text that the model learned from.
          split: which one.
          stride: tokens between successive windows; none means their length, a smaller one gives more context.
          batch_size: the most rows at a time, fewer where they would fill the memory; the result does not depend on it.
          length: tokens of a window, at most the model's context; none means the rows that it was trained on, or, of an
            imported model, the context, as far as memory goes (see `jaxlm.evaluation.sizes`).

        Raises:
          UsageError: files that are not there, a stride longer than a window, or windows longer than the context.
          DataError: text that cannot be read or represented.
        """
        if self.experiment.task.kind in LABELLED:
            raise UsageError(
                f"the model {self.experiment.name!r} was fine-tuned on examples (task.kind "
                f"{self.experiment.task.kind!r}), not on text: measure it by evaluate_files"
            )
        length = self._window(length)
        data = replace(self.experiment.data, length=length)
        task = make_task(self.experiment.task, self.config, data, self.tokenizer)
        if files is None:
            corpora = {name: prepare_corpus(config) for name, config in data.corpora().items()}
            streams = {
                name: task.feed.stream(getattr(corpus, split), f"{corpus.fingerprint}/{split}")
                for name, corpus in corpora.items()
            }
        else:
            own = DataConfig(source="text", files=_paths(files))
            documents = (document["text"] for document in source_documents(own))
            streams = {"": task.feed.stream(documents, digest([file_sha256(path) for path in source_files(own)]))}
        splits = {name: task.feed.evaluation_rows(stream, stride) for name, stream in streams.items()}
        score = jax.jit(make_row_sums(task.objective))
        total = sum(rows.num_rows for rows in splits.values())
        with working(f"evaluating in windows of {length:,} tokens", total, "rows") as progress:
            found = measure(
                splits,
                lambda rows: (
                    jax.device_get(score(self.params, batch)) for batch in self._batches(rows, batch_size, progress)
                ),
                task.objective.parts,
            )
        return replace(found, window=length)

    def _window(self, length: int | None) -> int:
        """The tokens of a window: those that are asked for, or the model's own."""
        context = None if self.config.architecture in ("lstm", "permutation") else self.config.max_length
        if length is not None:
            if not 1 <= length <= (context or length):
                raise UsageError(f"windows of {length:,} tokens were asked for; the model takes from 1 to {context:,}")
            return length
        if self.experiment.data.source != "none":
            return self.experiment.data.length
        return window_length(self.config, memory_bytes(jax.local_devices()[0])) or self.experiment.data.length

    def _batches(self, rows: Split, batch_size: int, progress: Progress) -> Iterator[Batch]:
        """Batches that fit the memory, counted when they are dealt with."""
        memory = memory_bytes(jax.local_devices()[0])
        left = rows.num_rows
        for batch in rows.batches(batch_size, most_tokens=batch_tokens(self.config, memory)):
            yield batch
            done = min(len(batch["tokens"]), left)
            left -= done
            progress.advance(done)

    def evaluate_files(
        self,
        files: Any = None,
        split: Literal["validation", "train", "test"] = "validation",
        batch_size: int = 64,
    ) -> SplitResult:
        """Measures a fine-tuned model on labelled examples, with intervals; see `evaluate_examples`.

        Args:
          files: a path or glob in the form of the training files, or several, or a table in memory (see
            `jaxlm.data.examples.tables`); none means a split of the model's own.
          split: which one.
          batch_size: rows at a time; the result does not depend on it.

        Raises:
          UsageError: files that are not there, or a model that predicts nothing of the sort.
          DataError: files that cannot be read, or without an example.
        """
        task, config = self.labelled_task.config, self.experiment.examples
        with tempfile.TemporaryDirectory() as folder:
            if is_table(files):
                path = Path(folder) / "table.jsonl"
                write_table(files, path)
                files = (str(path),)
            if files is not None:
                config, split = replace(config, test=_paths(files)), "test"
            found = read_examples(config, task.kind, split, task.labels or None)
        if not found.examples:
            raise DataError(f"there is no usable example; {first_problem(found.problems)}")
        return self.evaluate_examples(self.usable(found).examples, batch_size)

    def usable(self, found: ExampleSet) -> ExampleSet:
        """Returns the examples that the model can read: of conversations those that its chat template can write.

        Raises:
          DataError: there is none, or a bad one where the settings refuse it.
        """
        if self.labelled_task.config.kind not in TALKS:
            return found
        length, bad = self.experiment.data.length, self.experiment.examples.bad
        return self.labelled_task.encode_usable(self.tokenizer, length, found, bad)[0]

    @cached_property
    def labelled_task(self) -> LabelledTask:
        """The task of labelled examples that the model does.

        Raises:
          UsageError: it was not fine-tuned on any.
        """
        task = self.experiment.task
        if task.kind not in LABELLED:
            raise UsageError(
                f"the model {self.experiment.name!r} predicts no labels (task.kind {task.kind!r}); fine-tune it first, "
                "with jaxlm finetune"
            )
        return make_labelled_task(task, self.config)

    @overload
    def predict(self, inputs: str, batch_size: int = 64) -> Prediction: ...

    @overload
    def predict(self, inputs: Sequence[Any], batch_size: int = 64) -> list[Prediction]: ...

    def predict(self, inputs: str | Sequence[Any], batch_size: int = 64) -> Prediction | list[Prediction]:
        """Predicts the labels of texts, the number that stands for each, or the tags of its words.

        Args:
          inputs: one text, or several in a list; pairs of texts for a model of pairs; of a tagging model, lists of
            words, or texts that are divided at spaces; or a DataFrame, a datasets.Dataset or a list of dicts, of which
            the columns that the run learned from are taken.
          batch_size: at a time; no prediction depends on it.

        Raises:
          UsageError: the model predicts no labels.
          DataError: a text that the tokenizer cannot represent.

        Returns:
          A prediction for one text; for a list one for each input, in their order. See `jaxlm.prediction.prediction`.
        """
        if isinstance(inputs, str):
            return self.predict([inputs], batch_size)[0]
        task = self.labelled_task
        if is_table(inputs) and task.config.kind != "chat":
            records = table_records(inputs)
            return self.predict_examples(
                unlabelled_examples(records, self.experiment.examples, task.config.kind, "the table"), batch_size
            )
        examples = [as_example(task.config.kind, one, f"input {number}") for number, one in enumerate(inputs)]
        return self.predict_examples(examples, batch_size)

    def predict_examples(self, examples: Sequence[Example], batch_size: int = 64) -> list[Prediction]:
        """Predicts for examples, whose labels, if they have any, are not looked at; see `predict`."""
        task = self.labelled_task
        if task.generates:
            found = dict(self._written(examples, batch_size))
        else:
            length = self.experiment.data.length
            rows, padding = self._encoded(examples), padding_of(self.tokenizer)
            decoder = task.decoder(examples, rows)
            split = LabelledSplit(rows, padding, length, None) if rows else None
            with working("predicting", len(rows), "rows") as progress:
                batches = () if split is None else self._batches(split, batch_size, progress)
                found = dict(predict_rows(task.objective, self.params, batches, decoder))
        return [as_prediction(task.config, examples[number], found[number]) for number in range(len(examples))]

    def evaluate_examples(
        self,
        examples: Sequence[Example],
        batch_size: int = 64,
        replicates: int = 1000,
        keep: Callable[[int, Any, Any], None] | None = None,
    ) -> SplitResult:
        """Measures the model on labelled examples, each once.

        Args:
          examples: with labels that the model knows.
          batch_size: rows at a time; the result does not depend on it.
          replicates: samples of the bootstrap that the intervals are made from; 0 makes none.
          keep: called with the number, the prediction and the reference of each example.

        Raises:
          UsageError: the model predicts no labels.
          DataError: nothing to measure, or a text that the tokenizer cannot represent.
        """
        task = self.labelled_task
        length = self.experiment.data.length
        rows = self._encoded(examples)
        scorer = ExampleScorer(task, examples, rows, replicates, keep)
        split = LabelledSplit(rows, padding_of(self.tokenizer), length, None if task.generates else lambda: scorer)
        with working("evaluating", split.num_rows, "rows") as progress:
            outputs = (
                jax.device_get(scored_rows(task.objective, self.params, batch))
                for batch in self._batches(split, batch_size, progress)
            )
            measured = measure_examples(split, outputs, task.objective.parts)
        if task.generates:
            for number, text in self._written(examples, batch_size):
                scorer.add_one(number, text)
        return scorer.result(measured.loss)

    def _encoded(self, examples: Sequence[Example]) -> list[EncodedRow]:
        """What examples are to the model; those of preferences with what the model says that it began from."""
        task, length = self.labelled_task, self.experiment.data.length
        rows = task.encode(self.tokenizer, length, examples)
        if not isinstance(task.objective, Preference) or not rows:
            return rows
        try:
            reference = read_stored(self.experiment.start_from).params
        except UsageError as error:
            raise UsageError(f"margins are measured from the model that this one began from: {error}") from error
        padding = padding_of(self.tokenizer)
        return with_reference(rows, reference_log_probabilities(task.objective, reference, rows, padding, length))

    def _written(self, examples: Sequence[Example], batch_size: int) -> Iterator[tuple[int, str]]:
        """The number and the text that the model writes for each example."""
        length = self.experiment.data.length
        texts = write_texts(self.generator, self.tokenizer, self.labelled_task, examples, length, batch_size)
        return counted(texts, "writing", len(examples), "texts")

    def save(self, folder: str | os.PathLike) -> None:
        """Writes a run folder, which `load` and every verb take; parameters keep their types. It is there whole or not.

        Raises:
          UsageError: the folder holds something already.
          CheckpointError: the parameters could not be written.
        """
        require_empty(folder)
        facts = self.imported.facts()
        description = {"experiment": self.experiment.to_dict(), **facts}
        state = TrainState(jnp.int32(self.step), self.params, ())
        with working(f"writing {folder}"), whole_folder(folder) as own:
            run = RunFolder(own)
            if self._tokenizer is not None:
                self._tokenizer.save(run.tokenizer)
            checkpoints = Checkpoints(run.checkpoints, identity=partial(identity, description))
            checkpoints.save(state, self.step, copied_at_once=COPIED_AT_ONCE)
            checkpoints.wait()
            # Last: without its description a folder is no run.
            run.write_experiment(self.experiment, facts)

    def export(
        self, folder: str | os.PathLike, family: str | None = None, max_shard_bytes: int = MAX_SHARD_BYTES
    ) -> str:
        """Writes a Hugging Face directory, which `transformers` loads: config, weights, tokenizer, generation.

        Args:
          folder: where to; new or empty.
          family: which model family's form it takes; none means the one it was imported from, else the first that can
            express it.
          max_shard_bytes: largest size of a file of weights.

        Raises:
          UsageError: the folder holds something already, or no family can express the model or its tokenizer.

        Returns:
          The name of the family.
        """
        written = write_directory(
            folder,
            self.config,
            self.params,
            self._tokenizer,
            self.generation,
            self.imported,
            self.experiment.task,
            family=family,
            max_shard_bytes=max_shard_bytes,
        )
        return written.name


def load(
    path: str | os.PathLike,
    step: int | Literal["best", "latest"] = "best",
    *,
    dtype: str | None = None,
    compute_dtype: ComputeDtype | None = None,
    allow_nan: bool = False,
) -> LanguageModel:
    """Loads a model onto the first device of this process.

    Args:
      path: a run folder, a Hugging Face directory, or a llama2.c checkpoint (or the folder that has one).
      step: which checkpoint of a run: a number of updates, 'latest', or 'best' by validation loss.
      dtype: what the weights of a directory are converted to: 'float32', 'float16' or 'bfloat16'; none keeps them.
      compute_dtype: what is computed in; none takes the run's, or bfloat16 for a directory of bfloat16 weights, else
        float32.
      allow_nan: whether the weights of a directory may be no numbers.

    Raises:
      UsageError: if the path is none of these, or holds a model that is not supported.
      CheckpointError: if the checkpoint is missing or corrupt.
      DataError: if another file is damaged.
    """
    keep_compiled()
    stored = read_stored(path, step, dtype=dtype, compute_dtype=compute_dtype, allow_nan=allow_nan)
    return LanguageModel(stored.experiment, stored.params, stored.tokenizer, stored.step, stored.imported)


def _paths(files: Any) -> tuple[str, ...]:
    """Paths and globs of one or several; a string is one."""
    return (os.fspath(files),) if isinstance(files, str | os.PathLike) else tuple(map(os.fspath, files))


def _checked_tokens(tokens: Any, config: ModelConfig, name: str, placed: bool) -> jax.Array:
    """Token ids as an array, checked as far as they are known: inside `jax.jit` their values are not.

    Args:
      tokens: what the caller gave.
      config: the model's.
      name: what to call them.
      placed: whether their positions are given, so that there may be more of them than the context has.
    """
    try:
        array = jnp.asarray(tokens)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be an array of ids [batch, time], not {type(tokens).__name__}") from None
    if array.ndim != 2 or not jnp.issubdtype(array.dtype, jnp.integer):
        raise UsageError(f"{name} must be whole numbers [batch, time], not {array.dtype} of the shape {array.shape}")
    context = None if placed or config.architecture in ("lstm", "permutation") else config.max_length
    if context is not None and array.shape[1] > context:
        raise UsageError(f"{array.shape[1]} {name} are more than the model's context of {context}")
    if not isinstance(array, jax.core.Tracer) and array.size:
        least, most = int(array.min()), int(array.max())
        if least < 0 or most >= (config.vocab_size or 0):
            raise UsageError(
                f"{name} hold ids from {least} to {most}; the model has 0 to {(config.vocab_size or 0) - 1}"
            )
    return array
