"""Hiding tokens: which ones are to be predicted, and what the model sees in their place."""

import math
from dataclasses import dataclass

import numpy as np

from jaxlm.errors import UsageError
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.tokenizer import Tokenizer
from jaxlm.text.words import WordStarts, special_ids


@dataclass(frozen=True)
class Masked:
    """Hidden tokens.

    Attributes:
      inputs: [n] int32, what the model sees.
      chosen: [n] bool, which tokens it is to predict.
    """

    inputs: np.ndarray
    chosen: np.ndarray


class Masker:
    """Chooses mask_rate of the tokens that are not special, and hides them (Devlin et al. 2019, section 3.1).

    Of the chosen, keep_rate stay, random_rate become a random token that is not special, the rest the mask: each token
    by itself, but a span as a whole (Joshi et al. 2020, section 3.1).
    """

    def __init__(self, config: TaskConfig, tokenizer: Tokenizer):
        """Looks through the vocabulary once.

        Raises:
          UsageError: the tokenizer has no mask, or nothing but special tokens.
        """
        if tokenizer.mask_id is None:
            raise UsageError(
                "the tokenizer has no mask token, which this task needs: put '[MASK]' (and '[CLS]', '[SEP]') in "
                "tokenizer.special_tokens"
            )
        self._config = config
        self._mask_id = tokenizer.mask_id
        self._special = special_ids(tokenizer)
        self._plain_ids = np.flatnonzero(~self._special)
        if not len(self._plain_ids):
            raise UsageError("the tokenizer has nothing but special tokens: there is nothing to predict")
        self._word_starts = None if config.masking == "token" else WordStarts(tokenizer)
        lengths = np.arange(1, config.span_max + 1)
        weights = config.span_success * (1 - config.span_success) ** (lengths - 1)
        self._span_ends = np.cumsum(weights / weights.sum())

    def most(self, length: int) -> int:
        """How many of `length` tokens may be chosen at once."""
        return min(length, math.floor(self._config.mask_rate * length) + 1)

    def __call__(self, tokens: np.ndarray, random: np.random.Generator) -> Masked:
        """Returns tokens [n] with some of them hidden."""
        tokens = np.asarray(tokens, np.int32)
        candidates = ~self._special[tokens]
        # Rounded up or down by chance, so that short rows too have the rate on average.
        budget = math.floor(self._config.mask_rate * candidates.sum() + random.random())
        group = np.full(len(tokens), -1)  # of each chosen token: which tokens share its fate
        if self._word_starts is None:
            slots = np.flatnonzero(candidates)
            slots = slots[np.argsort(random.random(len(slots)), kind="stable")[:budget]]
            group[slots] = slots
        else:
            starts = np.flatnonzero(self._word_starts(tokens) | ~candidates)
            if self._config.masking == "whole_word":
                self._choose_words(group, candidates, starts, budget, random)
            else:
                self._choose_spans(group, candidates, starts, budget, random)
        chosen = group >= 0
        fate = random.random(len(tokens))[group[chosen]]
        ordinary = self._plain_ids[(random.random(int(chosen.sum())) * len(self._plain_ids)).astype(np.int64)]
        config = self._config
        inputs = tokens.copy()
        inputs[chosen] = np.where(
            fate < config.keep_rate,
            tokens[chosen],
            np.where(fate < config.keep_rate + config.random_rate, ordinary, self._mask_id),
        )
        return Masked(inputs, chosen)

    @staticmethod
    def _choose_words(
        group: np.ndarray, candidates: np.ndarray, starts: np.ndarray, budget: int, random: np.random.Generator
    ) -> None:
        """Takes words in a random order, passing over those that are too long for what is left."""
        ends = np.append(starts[1:], len(group))
        words = np.flatnonzero(candidates[starts])
        for word in words[np.argsort(random.random(len(words)), kind="stable")].tolist():
            if budget <= 0:
                return
            start, end = int(starts[word]), int(ends[word])
            if end - start <= budget:
                group[start:end] = np.arange(start, end)
                budget -= end - start

    def _choose_spans(
        self, group: np.ndarray, candidates: np.ndarray, starts: np.ndarray, budget: int, random: np.random.Generator
    ) -> None:
        """Takes spans of whole words from random words on; the last one may end early, where the budget does."""
        ends = np.append(starts[1:], len(group))
        words = np.flatnonzero(candidates[starts])
        # Each word is tried as a beginning once, in a random order, so that this ends.
        for word in words[np.argsort(random.random(len(words)), kind="stable")].tolist():
            if budget <= 0:
                return
            if group[starts[word]] >= 0:
                continue
            left = 1 + int(np.searchsorted(self._span_ends, random.random(), side="right"))
            first = int(starts[word])
            while left and budget > 0 and word < len(starts) and candidates[starts[word]] and group[starts[word]] < 0:
                start, end = int(starts[word]), min(int(ends[word]), int(starts[word]) + budget)
                group[start:end] = first
                budget -= end - start
                word, left = word + 1, left - 1
