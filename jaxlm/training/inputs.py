"""What a run is made from: its text, tokenizer, task and rows, got in one way by all who need them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxlm.data.account import Account
from jaxlm.data.cache import digest
from jaxlm.data.corpus import Corpus, prepare_corpus
from jaxlm.data.prepared import prepared_account
from jaxlm.data.step_rows import StepRows
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import DataError, UsageError
from jaxlm.experiment import Experiment
from jaxlm.generation.text import encode_prompt, encode_source
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.feeding import step_rows
from jaxlm.tasks.make import make_task
from jaxlm.tasks.task import Task, WholeSplit
from jaxlm.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from jaxlm.training.example_inputs import ExampleInputs, prepare_example_inputs
from jaxlm.training.starting import refuse_other_model, started_model
from jaxlm.training.stored import StoredModel

LENGTH_OF_BEGINNING = 20  # characters of a document that samples go on from


@dataclass(frozen=True)
class TextInputs:
    """The inputs of a run on text.

    Attributes:
      experiment: the resolved experiment.
      corpora: its text, by the names of the sources of a mixture; one alone has none.
      tokenizer: that of the run folder, where there is one.
      task: what is learned.
    """

    experiment: Experiment
    corpora: dict[str, Corpus]
    tokenizer: Tokenizer
    task: Task

    @property
    def shows_samples(self) -> bool:
        """Whether samples are generated while it trains."""
        return self.task.generates and self.experiment.sample_every > 0

    @property
    def source_names(self) -> tuple[str, ...]:
        """What the sources of the text are called."""
        return tuple(name or self.experiment.data.source for name in self.corpora)

    @property
    def fingerprint(self) -> str:
        """A hash of all text and its splits."""
        own = {name: corpus.fingerprint for name, corpus in self.corpora.items()}
        return digest(own) if len(own) > 1 else next(iter(own.values()))

    def streams(self, split: str) -> list[TokenStream]:
        """Returns the tokens of 'train' or 'validation', of each source."""
        return [
            self.task.feed.stream(getattr(corpus, split), f"{corpus.fingerprint}/{split}")
            for corpus in self.corpora.values()
        ]

    def summary(self) -> list[str]:
        """Returns what was read, in words."""
        return [
            f"text{name and f' of {name}'}: {_counts(corpus)}{', from the cache' if corpus.reused else ''}"
            for name, corpus in self.corpora.items()
        ]

    def training_rows(self) -> StepRows:
        """Returns the rows that training reads."""
        return step_rows(self.task.feed, self.streams("train"), self.experiment.seed)

    def evaluation_rows(self) -> dict[str, WholeSplit]:
        """Returns the rows that evaluations read, by the names of `corpora`."""
        stride, streams = self.experiment.evaluation.stride, self.streams("validation")
        return {
            name: self.task.feed.evaluation_rows(stream, stride)
            for name, stream in zip(self.corpora, streams, strict=True)
        }

    def facts(self, rows: StepRows, held_out: Mapping[str, WholeSplit]) -> dict[str, Any]:
        """Returns what the run folder keeps of them: which text it was, and what becomes of it in an epoch."""
        folders = {
            name: config.prepared_dir
            for name, config in zip(self.source_names, self.experiment.data.corpora().values(), strict=True)
            if config.source == "prepared"
        }
        return {
            "fingerprint": self.fingerprint,
            "train": self._named(rows.accounts()),
            "validation": self._named([split.account() for split in held_out.values()]),
            **({"prepared": {name: prepared_account(folder) for name, folder in folders.items()}} if folders else {}),
        }

    def _named(self, accounts: Sequence[Account]) -> list[dict[str, Any]]:
        return [replace(own, source=name).to_json() for own, name in zip(accounts, self.source_names, strict=True)]


def _counts(corpus: Corpus) -> str:
    parts = (("train", corpus.train.counts), ("validation", corpus.validation.counts))
    return ", ".join(f"{name} {counts.documents:,} documents, {counts.bytes:,} bytes" for name, counts in parts)


def prepare_inputs(
    experiment: Experiment, folder: RunFolder, start: StoredModel | None = None
) -> TextInputs | ExampleInputs:
    """Returns the inputs of an experiment, which is that of the folder or is to be.

    Args:
      experiment: as it was asked for.
      folder: the run's.
      start: the model that a new run begins from, if any.

    Raises:
      UsageError: for an impossible experiment.
      DataError: for text that cannot be used.
    """
    if experiment.data.source == "examples":
        return prepare_example_inputs(experiment, folder, start)
    return prepare_text_inputs(experiment, folder, start)


def chosen_lines(asked: Experiment, resolved: Experiment) -> list[str]:
    """Returns what was chosen where nothing was named, in words: the learning rate, and how many epochs."""
    lines, width = [], resolved.model.embed_dim
    if asked.optimizer.learning_rate is None:
        suited = {
            "text": f"a new model {width} wide that learns from text",
            "labels": f"a new model {width} wide that learns labels",
            "pretrained": f"a pretrained model {width} wide",
            "adapters": f"adapters of a pretrained model {width} wide",
        }[resolved.learned]
        rate = resolved.optimizer.learning_rate
        lines.append(f"learning rate: {rate:g} at most, which suits {suited} (optimizer.learning_rate names another)")
    if asked.epochs is None:
        lines.append(f"epochs: {resolved.epochs:g}, which are {resolved.steps:,} steps (epochs names another number)")
    return lines


def prepare_text_inputs(experiment: Experiment, folder: RunFolder, start: StoredModel | None = None) -> TextInputs:
    """Returns the inputs of an experiment on text; arguments and errors as `prepare_inputs`."""
    corpora = {name: prepare_corpus(config) for name, config in experiment.data.corpora().items()}
    tokenizer = _tokenizer(experiment, folder, start, list(corpora.values()))
    asked = experiment
    if experiment.start_from:
        experiment = replace(experiment, model=started_model(experiment, folder, start))
    experiment = experiment.resolve(tokenizer.vocab_size)
    refuse_other_model(asked, experiment)
    task = make_task(experiment.task, experiment.model, experiment.data, tokenizer)
    if task.generates and experiment.sample_every:
        prompt = _sample_prompt(experiment, tokenizer, corpora)
        experiment = replace(experiment, sample_prompt=prompt)
    return TextInputs(experiment, corpora, tokenizer, task)


def _sample_prompt(experiment: Experiment, tokenizer: Tokenizer, corpora: Mapping[str, Corpus]) -> str:
    """Returns what samples go on from, once it is sure that they can: the default's newline is not in every text.

    Raises:
      UsageError: the prompt that was named cannot be written, or leaves the context no room.
    """
    if experiment.sample_prompt is not None:
        problem = _prompt_problem(experiment, tokenizer, experiment.sample_prompt)
        if problem:
            raise UsageError(
                f"sample_prompt {experiment.sample_prompt!r:.60}: {problem}: name another with --sample-prompt, or "
                "--sample-every 0 for no samples"
            )
        return experiment.sample_prompt
    if not _prompt_problem(experiment, tokenizer, "\n"):
        return "\n"
    documents = itertools.chain.from_iterable(corpus.train for corpus in corpora.values())
    beginnings = (text.strip()[:LENGTH_OF_BEGINNING] for text in documents)
    found = next((text for text in beginnings if text and not _prompt_problem(experiment, tokenizer, text)), None)
    if found is None:
        raise UsageError("no document begins with what samples could go on from: name it with --sample-prompt")
    return found


def _prompt_problem(experiment: Experiment, tokenizer: Tokenizer, prompt: str) -> str:
    encode = encode_source if experiment.model.architecture == "encoder_decoder" else encode_prompt
    try:
        ids = encode(tokenizer, prompt)
    except (DataError, UsageError) as error:
        return str(error)
    context = experiment.model.max_length
    if experiment.model.architecture != "lstm" and context is not None and len(ids) > context:
        return f"{len(ids)} tokens, more than the model's context of {context}"
    return ""


def refuse_other_text(inputs: TextInputs | ExampleInputs, folder: RunFolder) -> None:
    """Makes sure that the text is the one that the run in the folder began with, as far as the folder says.

    Raises:
      UsageError: it is another.
    """
    recorded = folder.corpus_fingerprint()
    if recorded is not None and recorded != inputs.fingerprint:
        raise UsageError(
            f"the text of {folder.path} is not what it was when the run began (its fingerprint is "
            f"{inputs.fingerprint[:12]} and was {recorded[:12]}): put the old files back, or start another run"
        )


def _tokenizer(
    experiment: Experiment, folder: RunFolder, start: StoredModel | None, corpora: Sequence[Corpus]
) -> Tokenizer:
    if folder.exists():
        return load_tokenizer(folder.tokenizer)
    if start is not None:
        if start.tokenizer is None:
            raise UsageError(f"the model {experiment.start_from} has no tokenizer, which encodes the text")
        return start.tokenizer
    documents: Iterator[str] = itertools.chain.from_iterable(corpus.train for corpus in corpora)
    if experiment.tokenizer.kind == "character":
        # An alphabet is no statistic: without that of the validation text, some of it could not be represented.
        documents = itertools.chain(documents, *(corpus.validation for corpus in corpora))
    return train_tokenizer(experiment.tokenizer, documents)
