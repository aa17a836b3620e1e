"""What a run is made from: its text, tokenizer, task and rows, got in one way by all who need them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jaxlm.data.account import Account
from jaxlm.data.corpus import Corpus, prepare_corpus
from jaxlm.data.prepared import prepared_account
from jaxlm.data.rows import TrainingRows
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.experiment import Experiment
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.make import make_task
from jaxlm.tasks.task import Task, WholeSplit
from jaxlm.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run.

    Attributes:
      experiment: the resolved experiment.
      corpus: its text.
      tokenizer: that of the run folder, where there is one.
      task: what is learned.
    """

    experiment: Experiment
    corpus: Corpus
    tokenizer: Tokenizer
    task: Task

    @property
    def source_names(self) -> tuple[str, ...]:
        """What the sources of the text are called."""
        return (self.experiment.data.source,)

    def stream(self, split: str) -> TokenStream:
        """Returns the tokens of 'train' or 'validation'."""
        return self.task.feed.stream(getattr(self.corpus, split), f"{self.corpus.fingerprint}/{split}")

    def training_rows(self, stream: TokenStream) -> TrainingRows:
        """Returns the rows that training reads, of the stream 'train'."""
        return self.task.feed.training_rows(stream, self.experiment.seed)

    def evaluation_rows(self, stream: TokenStream) -> WholeSplit:
        """Returns the rows that evaluations read, of the stream 'validation'."""
        return self.task.feed.evaluation_rows(stream, self.experiment.evaluation.stride)

    def accounts(self, rows: TrainingRows) -> list[Account]:
        """Returns what an epoch makes of each source, with its name."""
        return [replace(own, source=name) for own, name in zip(rows.accounts(), self.source_names, strict=True)]

    def facts(self, accounts: list[Account], validation: Account) -> dict[str, Any]:
        """Returns what the run folder keeps of them: which text it was, and what became of it.

        Args:
          accounts: of the training rows.
          validation: of the validation rows.
        """
        data = self.experiment.data
        if len(accounts) == 1:
            validation = replace(validation, source=accounts[0].source)
        return {
            "fingerprint": self.corpus.fingerprint,
            "train": [account.to_json() for account in accounts],
            "validation": [validation.to_json()],
            **({"prepared": prepared_account(data.prepared_dir)} if data.source == "prepared" else {}),
        }


def prepare_inputs(experiment: Experiment, folder: RunFolder) -> Inputs:
    """Returns the inputs of an experiment, which is that of the folder or is to be.

    Raises:
      UsageError: for an impossible experiment.
      DataError: for text that cannot be used.
    """
    corpus = prepare_corpus(experiment.data)
    tokenizer = _tokenizer(experiment, folder, corpus)
    experiment = experiment.resolve(tokenizer.vocab_size)
    return Inputs(
        experiment, corpus, tokenizer, make_task(experiment.task, experiment.model, experiment.data, tokenizer)
    )


def refuse_other_text(inputs: Inputs, folder: RunFolder) -> None:
    """Makes sure that the text is the one that the run in the folder began with, as far as the folder says.

    Raises:
      UsageError: it is another.
    """
    recorded = folder.corpus_fingerprint()
    if recorded is not None and recorded != inputs.corpus.fingerprint:
        raise UsageError(
            f"the text of {folder.path} is not what it was when the run began (its fingerprint is "
            f"{inputs.corpus.fingerprint[:12]} and was {recorded[:12]}): put the old files back, or start another run"
        )


def _tokenizer(experiment: Experiment, folder: RunFolder, corpus: Corpus) -> Tokenizer:
    if folder.exists():
        return load_tokenizer(folder.tokenizer)
    documents: Iterator[str] = iter(corpus.train)
    if experiment.tokenizer.kind == "character":
        # An alphabet is no statistic: without that of the validation text, some of it could not be represented.
        documents = itertools.chain(documents, corpus.validation)
    return train_tokenizer(experiment.tokenizer, documents)
