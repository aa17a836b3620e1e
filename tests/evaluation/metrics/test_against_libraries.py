"""Scores from sums over examples are those of the field's libraries on whole splits."""

import warnings

import numpy as np
import pytest
import sacrebleu
import scipy.stats
import sklearn.metrics
from rouge_score.rouge_scorer import RougeScorer
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

from jaxlm.data.examples.tags import entity_scheme
from jaxlm.errors import DataError, UsageError
from jaxlm.evaluation.metrics.classification import BINS
from jaxlm.evaluation.metrics.make import make_metric
from jaxlm.evaluation.metrics.tagging import entities_of
from jaxlm.evaluation.metrics.text import is_latin, normalized, word_f1

CASES = 250
WORDS = ["the", "a", "cat", "cats", "sat", "Mat!", "über", "naïve", "大家", "好", "😀", "x-ray", "3.5", "", "don't"]


def scores_of(metric, predictions, references):
    rows = [metric.statistics(*pair) for pair in zip(predictions, references, strict=True)]
    return metric.scores(np.sum(rows, axis=0))


def sentences(random, most=12):
    return " ".join(random.choice(WORDS, random.integers(0, most)))


@pytest.mark.filterwarnings("ignore:A single label was found")
def test_classification_is_scikit_learn():
    random = np.random.default_rng(0)
    for case in range(CASES):
        count, size = int(random.integers(2, 6)), int(random.integers(1, 30))
        references = random.integers(0, 1 if case % 10 == 0 else count, size)  # sometimes one class alone
        probabilities = random.dirichlet(np.ones(count) * random.choice([0.1, 1, 10]), size)
        found = scores_of(make_metric("classification", list("abcde")[:count]), probabilities, references)
        best = probabilities.argmax(1)
        present = np.union1d(best, references)
        assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(references, best))
        for kind in ("macro", "weighted"):
            expected = sklearn.metrics.f1_score(references, best, average=kind, zero_division=0.0, labels=present)
            assert found[f"{kind}_f1"] == pytest.approx(expected), case
        assert found["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(references, best)), case
        if count == 2:
            assert found["f1"] == pytest.approx(sklearn.metrics.f1_score(references, best, zero_division=0.0))


def test_the_calibration_error_is_its_definition():
    random = np.random.default_rng(1)
    probabilities = random.dirichlet([1, 1, 1], 500)
    references = random.integers(0, 3, 500)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == references
    expected = 0.0
    for low in np.arange(BINS) / BINS:  # Guo et al. 2017, equation 3
        inside = (confidence > low) & (confidence <= low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert scores_of(make_metric("classification", list("abc")), probabilities, references)["ece"] == pytest.approx(
        expected
    )


def test_many_labels_are_scikit_learn():
    random = np.random.default_rng(2)
    for _ in range(CASES):
        count, size = int(random.integers(1, 5)), int(random.integers(1, 12))
        probabilities = random.random((size, count)) ** random.choice([0.3, 1, 5])
        references = random.integers(0, 2, (size, count)) * random.integers(0, 2)
        found = scores_of(make_metric("multi_label", list("abcd")[:count]), probabilities, references)
        chosen = (probabilities > 0.5).astype(int)
        for kind in ("micro", "macro"):
            expected = sklearn.metrics.f1_score(references, chosen, average=kind, zero_division=0.0)
            if count == 1:  # scikit-learn takes a single column for two classes
                expected = sklearn.metrics.f1_score(references[:, 0], chosen[:, 0], zero_division=0.0)
            assert found[f"{kind}_f1"] == pytest.approx(expected)
        assert found["accuracy"] == pytest.approx((chosen == references).all(1).mean())


def test_numbers_are_scipy():
    random = np.random.default_rng(3)
    for _ in range(CASES):
        size = int(random.integers(3, 40))
        references = random.normal(1000, 2, size).round(1)  # with ties, far from zero
        predictions = references * random.choice([-1, 0.3, 1]) + random.normal(0, random.choice([0.01, 1, 10]), size)
        metric = make_metric("regression")
        found = scores_of(metric, predictions, references) | metric.whole()
        if np.ptp(references) > 0:
            assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(predictions, references).statistic, abs=1e-7)
            assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(predictions, references).statistic)
        assert found["mse"] == pytest.approx(np.mean((predictions - references) ** 2))
    constant = make_metric("regression")
    assert scores_of(constant, [1.0, 1.0], [1.0, 2.0])["pearson"] == 0
    assert constant.whole() == {"spearman": 0.0}


def test_entities_are_seqeval():
    random = np.random.default_rng(4)
    labels = ["O", "B-per", "I-per", "B-loc", "I-loc"]
    for case in range(CASES):
        sizes = random.integers(1, 10, random.integers(1, 8))
        weights = [1, 0, 0, 0, 0] if case % 20 == 0 else [0.4, 0.15, 0.15, 0.15, 0.15]
        predictions, references = (
            [random.choice(labels, size, p=own).tolist() for size in sizes]
            for own in (weights, weights if case % 40 == 0 else [0.4, 0.15, 0.15, 0.15, 0.15])
        )
        found = scores_of(make_metric("tagging", labels), predictions, references)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # seqeval warns where there is no entity
            for name, function in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
                assert found[name] == pytest.approx(function(references, predictions, zero_division=0)), (case, name)
        assert found["accuracy"] == pytest.approx(accuracy_score(references, predictions))


def test_other_tags_are_scikit_learn():
    random = np.random.default_rng(5)
    labels = ["NOUN", "VERB", "ADJ"]
    for _ in range(CASES):
        sizes = random.integers(1, 10, 5)
        predictions, references = ([random.choice(labels, size).tolist() for size in sizes] for _ in range(2))
        found = scores_of(make_metric("tagging", labels), predictions, references)
        flat = [[tag for own in side for tag in own] for side in (references, predictions)]
        assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(*flat))
        assert found["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(*flat, average="macro", zero_division=0.0))


@pytest.mark.parametrize("tokenizer", ["13a", "zh", "char"])
def test_translations_are_sacrebleu(tokenizer):
    random = np.random.default_rng(6)
    for case in range(CASES // 2):
        size, references = int(random.integers(1, 6)), int(random.integers(1, 3))
        texts = [sentences(random) for _ in range(size)]
        targets = [[sentences(random) if random.random() < 0.5 else text for _ in range(references)] for text in texts]
        if case % 20 == 0:
            texts = [""] * size
        found = scores_of(make_metric("translation", bleu_tokenizer=tokenizer), texts, targets)
        columns = [[own[column] for own in targets] for column in range(references)]
        assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(texts, columns, tokenize=tokenizer).score)
        assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(texts, columns).score)


def test_summaries_are_rouge_score():
    random = np.random.default_rng(7)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    metric = make_metric("summarisation")
    for _ in range(CASES):
        text, target = sentences(random), [sentences(random) for _ in range(random.integers(1, 3))]
        target = [own for own in target if is_latin(own)] or ["a cat"]
        found = scores_of(metric, [text], [target])
        for kind in ("rouge1", "rouge2", "rougeL"):
            expected = max(scorer.score(own, text)[kind].fmeasure for own in target)
            assert found[kind] == pytest.approx(100 * expected)


def published_f1(prediction, truth):
    """As the evaluation script of SQuAD v2.0 (Rajpurkar et al. 2018) computes it."""
    found, true = normalized(prediction).split(), normalized(truth).split()
    common = sum(min(found.count(word), true.count(word)) for word in set(found))
    if not found or not true:
        return int(found == true)
    if not common:
        return 0
    precision, recall = common / len(found), common / len(true)
    return 2 * precision * recall / (precision + recall)


def test_answers_are_scored_as_by_the_published_script():
    random = np.random.default_rng(8)
    for _ in range(CASES):
        one, other = sentences(random, 6), sentences(random, 6)
        assert word_f1(one, other) == pytest.approx(published_f1(one, other))
    metric = make_metric("question_answering")
    assert normalized("The  Cat's, a mat!") == "cats mat"
    assert normalized("《大家》好。") == "大 家 好"
    assert scores_of(metric, ["the cat"], [["Cat.", "dog"]]) == {"f1": 100.0, "exact_match": 100.0}
    assert scores_of(metric, ["", "x"], [[], []]) == {"f1": 50.0, "exact_match": 50.0}


def test_misuse_is_named():
    with pytest.raises(UsageError, match=r"metric.*did you mean 'tagging'"):
        make_metric("taging")
    for labels in (["NOUN"], ["O", "B-x"]):
        with pytest.raises(DataError, match="2 tags were predicted for a sentence of 1 words"):
            make_metric("tagging", labels).statistics([labels[0]] * 2, [labels[0]])


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["S-PER", "O", "B-LOC", "E-LOC"], "BIOES"),
        (["U-PER", "O", "B-LOC", "L-LOC"], "BILOU"),
        (["B-PER", "O", "B-LOC", "I-LOC"], "BIO"),
        (["I-PER", "O", "I-LOC", "I-LOC"], "IOB1"),
    ],
)
def test_entities_are_told_by_all_schemes(tags, scheme):
    assert entity_scheme(sorted(set(tags))) == scheme
    assert entities_of(tags) == {("PER", 0, 0), ("LOC", 2, 3)}
    metric = make_metric("tagging", sorted(set(tags)))
    assert scores_of(metric, [tags], [tags])["f1"] == 1
    half = [tags[0], "O", "O", tags[3]]
    assert scores_of(metric, [half], [tags]) == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.75}


def test_other_tags_mark_no_entities():
    for labels in (["NOUN", "VERB"], ["O"], ["I-x", "V-x"], ["B-", "I-"], ["X-a", "O"]):
        assert entity_scheme(labels) == ""


@pytest.mark.parametrize(
    "text", ["今天天气很好", "Сегодня хорошая погода", "อากาศดีมาก", "يوم جميل", "नमस्ते दुनिया", "오늘 날씨"]
)
def test_an_identical_summary_of_any_script_scores_100(text):
    metric = make_metric("summarisation")
    found = scores_of(metric, [text], [[text]])
    assert found == {"rouge1": 100, "rouge2": 100, "rougeL": 100}
    assert scores_of(metric, ["something else"], [[text]])["rouge1"] == 0
