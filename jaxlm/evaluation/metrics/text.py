"""Texts held against texts: answers by SQuAD's rules, translations by sacrebleu, summaries by rouge-score."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from jaxlm.evaluation.metrics.metric import library

BleuTokenizer = Literal["13a", "zh", "char", "intl", "none"]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_IDEOGRAPH = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")

_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class QuestionAnswering:
    """Exact match and F1 of words (Rajpurkar et al. 2016, section 6.1), of the best of the acceptable answers, in %.

    A prediction is a text, a reference the acceptable ones; none means that no answer is right.
    """

    main, size = "f1", 3
    higher_is_better: Mapping[str, bool] = {"f1": True, "exact_match": True}

    def statistics(self, prediction: str, reference: Sequence[str]) -> np.ndarray:
        """Exact match, F1, 1."""
        accepted = list(reference) or [""]
        exact = max(float(normalized(prediction) == normalized(answer)) for answer in accepted)
        return np.array([exact, max(word_f1(prediction, answer) for answer in accepted), 1.0])

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        return {"f1": float(100 * total[1] / total[2]), "exact_match": float(100 * total[0] / total[2])}


def normalized(answer: str) -> str:
    """Lower case, without punctuation, articles and superfluous space, as the published evaluation script has it.

    In answers with Chinese or Japanese characters these become words of their own, and other scripts' punctuation goes
    as well, as in the script of CMRC 2018 (Cui et al. 2019).
    """
    answer = answer.lower().translate(_PUNCTUATION)
    if _IDEOGRAPH.search(answer):
        answer = "".join(character for character in answer if not unicodedata.category(character).startswith("P"))
    return " ".join(_IDEOGRAPH.sub(r" \1 ", _ARTICLES.sub(" ", answer)).split())


def word_f1(prediction: str, answer: str) -> float:
    """Returns the F1 of the words that two answers share; where one has none, whether the other has none either."""
    found, true = normalized(prediction).split(), normalized(answer).split()
    if not found or not true:
        return float(found == true)
    shared = (Counter(found) & Counter(true)).total()
    return 2 * shared / (len(found) + len(true))


class Translation:
    """BLEU (Papineni et al. 2002) and chrF (Popovic 2015) of a corpus by sacrebleu; a reference is a list of texts."""

    main = "bleu"
    higher_is_better: Mapping[str, bool] = {"bleu": True, "chrf": True}

    def __init__(self, tokenizer: BleuTokenizer = "13a"):
        """Takes sacrebleu's name of how words are told apart: 'zh' or 'char' for Chinese."""
        metrics = library("sacrebleu.metrics")
        self._bleu, self._chrf = metrics.BLEU(tokenize=tokenizer), metrics.CHRF()
        self._parts = len(self._stats(self._bleu, "a", ["a"])), len(self._stats(self._chrf, "a", ["a"]))
        self.size = sum(self._parts)

    def statistics(self, prediction: str, reference: Sequence[str]) -> np.ndarray:
        """Those of sacrebleu."""
        return np.concatenate(
            [self._stats(metric, prediction, reference) for metric in (self._bleu, self._chrf)], dtype=np.float64
        )

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        parts = np.split(total.astype(int), [self._parts[0]])
        return {
            name: float(metric._compute_score_from_stats(own.tolist()).score)
            for name, metric, own in zip(("bleu", "chrf"), (self._bleu, self._chrf), parts, strict=True)
        }

    @property
    def signature(self) -> str:
        """What sacrebleu calls this BLEU, to be given with the figure."""
        self._bleu.corpus_score(["a"], [["a"]])  # which tells it how many references there are
        return str(self._bleu.get_signature())

    @staticmethod
    def _stats(metric: "object", prediction: str, references: Sequence[str]) -> list[int]:
        (own,) = metric._extract_corpus_statistics([prediction], [[text] for text in references])  # type: ignore[attr-defined]
        return list(own)


class Summarisation:
    """ROUGE-1, -2 and -L F1 (Lin 2004) by rouge-score with stemming, in %, of the best of several references.

    rouge-score's own words are of a-z and 0-9 alone, which leaves nothing of other scripts. Where more of a reference's
    letters are of another script than Latin, its words are runs of letters, marks and digits of any script, and each
    ideograph, kana and letter of Thai, Lao, Khmer and Burmese, which are written without spaces, is one of its own.
    """

    main, size = "rougeL", 4
    higher_is_better: Mapping[str, bool] = {"rouge1": True, "rouge2": True, "rougeL": True}
    _KINDS = ("rouge1", "rouge2", "rougeL")

    def __init__(self) -> None:
        """Loads the scorers."""
        scorer = library("rouge_score.rouge_scorer").RougeScorer
        self._latin = scorer(list(self._KINDS), use_stemmer=True)
        self._other = scorer(list(self._KINDS), tokenizer=_AnyScript())

    def statistics(self, prediction: str, reference: Sequence[str]) -> np.ndarray:
        """The three, and 1."""
        found = [(self._latin if is_latin(text) else self._other).score(text, prediction) for text in reference]
        return np.array([*(max(own[kind].fmeasure for own in found) for kind in self._KINDS), 1.0])

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        return {kind: float(100 * value / total[3]) for kind, value in zip(self._KINDS, total, strict=False)}


class _AnyScript:
    """Words of any script, as rouge-score asks for them."""

    def tokenize(self, text: str) -> list[str]:
        """Returns the words of a text in lower case."""
        words, whole = [], ""
        for character in f"{text.casefold()} ":
            inside = unicodedata.category(character)[0] in "LMN"
            alone = bool(_UNSPACED.match(character))
            if whole and (alone or not inside):
                words.append(whole)
                whole = ""
            if alone:
                words.append(character)
            elif inside:
                whole += character
        return words


def bleu_tokenizer_for(texts: Iterable[str]) -> BleuTokenizer:
    """Returns sacrebleu's tokenizer that suits the script of most letters: 'zh', 'char' or '13a'."""
    letters = Counter(character for text in texts for character in text if character.isalpha())
    unspaced = Counter({own: count for own, count in letters.items() if _UNSPACED.match(own)})
    if not letters or 2 * unspaced.total() < letters.total():
        return "13a"
    ideographs = sum(count for own, count in unspaced.items() if unicodedata.name(own, "").startswith("CJK"))
    # Japanese has kana between its ideographs, a third and more of its letters.
    return "zh" if 10 * ideographs >= 9 * unspaced.total() else "char"


def is_latin(text: str) -> bool:
    """Whether no more of a text's letters are of other scripts than of Latin."""
    letters = [character for character in text if character.isalpha()]
    latin = sum(unicodedata.name(character, "").startswith("LATIN") for character in letters)
    return 2 * latin >= len(letters)
