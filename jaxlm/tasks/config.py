"""Which objective a model is trained for: data only."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxlm.errors import UsageError, unknown_name

TaskKind = Literal[
    "causal_lm",
    "masked_lm",
    "bert",
    "replaced_token",
    "span_corruption",
    "ul2",
    "prefix_lm",
    "permutation_lm",
    "fill_in_the_middle",
    "denoising",
    "classification",
    "multi_label",
    "regression",
    "tagging",
    "question_answering",
    "sequence_to_sequence",
    "chat",
    "preference",
    "multiple_choice",
    "sentence_embedding",
]
# Those that are learned from labelled examples rather than from text.
LABELLED = (
    "classification",
    "multi_label",
    "regression",
    "tagging",
    "question_answering",
    "sequence_to_sequence",
    "chat",
    "preference",
    "multiple_choice",
    "sentence_embedding",
)
# Those whose predictions are texts.
WRITTEN = ("sequence_to_sequence", "chat")
SentencePairs = Literal["next", "order"]
Masking = Literal["token", "whole_word", "span"]


@dataclass(frozen=True)
class TaskConfig:
    """What a model learns from text. Defaults are those of the papers that introduced each objective."""

    kind: TaskKind = "causal_lm"
    """causal_lm: each token from those before it (GPT); masked_lm: hidden tokens from both sides (RoBERTa); bert:
    hidden tokens, and whether two segments belong together, jointly; replaced_token: which tokens were replaced by
    those that a small masked_lm, learning beside, takes for hidden ones (ELECTRA); span_corruption: spans that the
    source has sentinels for (T5); ul2: a mixture of these and of prefixes (UL2); prefix_lm: the rest of a text
    whose beginning is the source, or is seen from both sides by a decoder (model.prefix); permutation_lm: the last
    tokens of a random order (XLNet); fill_in_the_middle: as causal_lm, on texts whose middle often stands at their
    end; denoising: a text from its noisy form (BART). From labelled examples (data.source 'examples'): classification:
    the label of a text or a pair of texts; multi_label: any number of labels; regression: a number; tagging: a tag of
    each word; question_answering: a span of a text; sequence_to_sequence: a text from a
    text, by an encoder_decoder or a decoder; chat: what the assistant says in a conversation (instruction tuning);
    preference: which of two answers is better (DPO); multiple_choice: one of several answers; sentence_embedding:
    vectors by which texts that belong together are found (contrastive)."""

    masking: Masking = "token"
    """What masked_lm, bert and replaced_token hide: single tokens, whole words, or spans of words (SpanBERT)."""
    mask_rate: float = 0.15
    """Share of the tokens that are to be predicted (special ones do not count)."""
    keep_rate: float = 0.1
    """Share of these that stay as they are (ELECTRA's published code: 0.15)."""
    random_rate: float = 0.1
    """Share of these that become a random token; the rest become the mask (ELECTRA's published code: 0)."""
    dynamic: bool = True
    """Whether each epoch hides other tokens (RoBERTa), or always the same."""
    span_success: float = 0.2
    """masking 'span': parameter p of the geometric distribution of the words in a span."""
    span_max: int = 10
    """masking 'span': the most words in a span."""
    discriminator_weight: float = 50.0
    """replaced_token: how much the mean loss of telling replaced tokens counts beside that of the generator."""
    sentence_pairs: SentencePairs = "next"
    """bert: whether the second segment follows the first or is from another document (next, BERT), or follows it or
    goes before it (order, ALBERT)."""
    short_rate: float = 0.1
    """bert: share of the pairs that are cut to a random length."""
    sentence_language: str = "en"
    """bert, denoising: language whose sentences are told apart, by its ISO 639-1 code, such as en or zh."""
    noise_density: float = 0.15
    """span_corruption: share of the tokens that are replaced and predicted."""
    mean_noise_span: float = 3.0
    """span_corruption: mean length of the spans."""
    predict_share: int = 6
    """permutation_lm: one of so many tokens is predicted (K of the paper)."""
    middle_rate: float = 0.5
    """fill_in_the_middle: share of the texts whose middle is moved."""
    suffix_first_rate: float = 0.5
    """fill_in_the_middle: share of these whose suffix stands before the prefix (SPM)."""
    infill_rate: float = 0.3
    """denoising: share of the tokens that masks stand for."""
    infill_span: float = 3.0
    """denoising: mean number of tokens that a mask stands for."""

    labels: tuple[str, ...] = ()
    """Names of the labels; none means those of the training examples, in alphabetical order."""
    label_smoothing: float = 0.0
    """classification, tagging, sequence_to_sequence, chat, preference: share of a label that is spread over all."""
    class_weights: Literal["none", "balanced"] = "none"
    """classification: whether examples of rare labels count more in training, so that all labels count alike."""
    window_stride: int = 64
    """question_answering: tokens between the beginnings of the windows that a long text is read in."""
    max_answer: int = 30
    """question_answering: most words of an answer."""
    n_best: int = 5
    """question_answering: answers that are kept of each question."""
    no_answer: bool = False
    """question_answering: whether a question may have no answer in its text (SQuAD 2)."""
    source_prefix: str = ""
    """sequence_to_sequence: what the model reads before a source, such as "translate English to German: "."""
    source_suffix: str = ""
    """sequence_to_sequence: what it reads after a source; a decoder needs something that the target follows."""
    text_score: Literal["translation", "summarisation"] = "translation"
    """sequence_to_sequence, chat: what texts are measured by: BLEU and chrF, or ROUGE."""
    bleu_tokenizer: Literal["auto", "13a", "zh", "char", "intl", "none"] = "auto"
    """sequence_to_sequence, chat: how sacrebleu tells words apart. auto goes by the script of most targets: zh for
    Chinese, char for Japanese, Thai, Lao, Khmer and Burmese, else 13a."""
    r_drop: float = 0.0
    """classification, multi_label: weight of the divergence of two predictions of an example with other dropout
    (R-Drop); 0 turns it off."""
    score_activation: Literal["none", "sigmoid"] = "none"
    """regression: what the model's number goes through: nothing, or a sigmoid, which keeps it between 0 and 1."""
    num_beams: int = 1
    """sequence_to_sequence, chat: texts that are followed at once when one is written; 1 takes the likeliest token each
    time (greedy)."""
    length_penalty: float = 1.0
    """sequence_to_sequence, chat: see generation's length_penalty."""
    chat_template: str = ""
    """chat, preference: how messages become text: the name of a template of the tokenizer, or one in Jinja; plain is a
    line for each message, and empty the tokenizer's own template, or plain where it has none."""
    temperature: float = 0.05
    """sentence_embedding: what cosines are divided by; a smaller one looks at the nearest wrong texts only."""
    beta: float = 0.1
    """preference: how closely the model is held to the one it begins from; larger is closer."""

    def validate(self) -> None:
        """Raises UsageError for the first unknown name or value out of range."""
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"task.label_smoothing is {self.label_smoothing}; it must be in [0, 1)")
        for name in ("window_stride", "max_answer", "n_best", "num_beams"):
            if getattr(self, name) < 1:
                raise UsageError(f"task.{name} is {getattr(self, name)}; it must be at least 1")
        if self.temperature <= 0:
            raise UsageError(f"task.temperature is {self.temperature}; it must be positive")
        if self.beta <= 0:
            raise UsageError(f"task.beta is {self.beta}; it must be positive")
        if self.r_drop < 0:
            raise UsageError(f"task.r_drop is {self.r_drop}; it must not be negative")
        if len(set(self.labels)) < len(self.labels):
            raise UsageError("task.labels names a label twice")
        for name, kind in (("kind", TaskKind), ("masking", Masking), ("sentence_pairs", SentencePairs)):
            if getattr(self, name) not in get_args(kind):
                raise unknown_name(f"task.{name}", getattr(self, name), get_args(kind))
        for name in ("mask_rate", "span_success", "noise_density", "infill_rate"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"task.{name} is {getattr(self, name)}; it must be between 0 and 1, such as 0.15")
        for name in ("keep_rate", "random_rate", "short_rate", "middle_rate", "suffix_first_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"task.{name} is {getattr(self, name)}; it must be from 0 to 1")
        if self.keep_rate + self.random_rate > 1:
            raise UsageError(
                f"task.keep_rate {self.keep_rate} and task.random_rate {self.random_rate} are more than 1 together"
            )
        if self.discriminator_weight <= 0:
            raise UsageError(f"task.discriminator_weight is {self.discriminator_weight}; it must be positive")
        if self.mean_noise_span < 1:
            raise UsageError(f"task.mean_noise_span is {self.mean_noise_span}; it must be at least 1")
        if not 0 < self.infill_span <= 100:
            raise UsageError(f"task.infill_span is {self.infill_span}; it must be positive and at most 100")
        if self.predict_share < 1:
            raise UsageError(f"task.predict_share is {self.predict_share}; it must be at least 1")
        if self.span_max < 1:
            raise UsageError(f"task.span_max is {self.span_max}; it must be at least 1")
