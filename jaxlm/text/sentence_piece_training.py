"""Learning a sentencepiece vocabulary: the same bytes from the same documents, and no document left out."""

import io
import re
from collections.abc import Iterable, Iterator

from jaxlm.errors import DataError, UsageError
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.sentence_piece import BOS_ID, EOS_ID, PAD_ID, SPACE_MARK, UNK_ID
from jaxlm.text.vocabulary_size import VocabularySizeError

# sentencepiece drops longer sentences without a word. A character has at most four bytes.
MAX_SENTENCE_BYTES = 4192
_MAX_SENTENCE_CHARACTERS = MAX_SENTENCE_BYTES // 4

# The model depends on the number of threads, so it is no function of the machine's cores.
_NUM_THREADS = 8

# sentencepiece uses U+2585 for unknown characters in training and drops each sentence that has one; it would take
# a U+2581 for a space. Both are cut out, so that only they, and not what stands around them, go unlearned.
_CUTS = re.compile(f"[\n\u2585{SPACE_MARK}]")

_TOO_SMALL = re.compile(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)")
_TOO_LARGE = re.compile(r"Vocabulary size too high .* value <= (\d+)")


def train_sentence_piece(config: TokenizerConfig, documents: Iterable[str]) -> bytes:
    """Returns the serialized model learned from `documents`, all of which are held in memory.

    Raises:
      UsageError: the vocabulary is larger than the documents can fill, or too small for their characters.
      DataError: there is no text, or sentencepiece refuses it.
    """
    from sentencepiece import SentencePieceTrainer

    # A list, since sentencepiece would hide the type of an error that reading the documents raises.
    sentences = [sentence for document in documents for sentence in split_into_sentences(document)]
    if not sentences:
        raise DataError("the training text is empty: there is nothing to learn a vocabulary from")
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type=config.algorithm,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            byte_fallback=config.byte_fallback,
            # The text as it is: these three make encoding lossless.
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            # Without a piece of its own a space would be spelled in the bytes of its mark, and decoded as the mark.
            required_chars=SPACE_MARK,
            # A newline is one id, in any vocabulary, and no part of another piece.
            user_defined_symbols=["\n"],
            # Indentation costs one token rather than four.
            allow_whitespace_only_pieces=True,
            pad_id=PAD_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            unk_id=UNK_ID,
            max_sentence_length=MAX_SENTENCE_BYTES,
            num_threads=_NUM_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(config, str(error)) from None
    return model.getvalue()


def split_into_sentences(document: str) -> Iterator[str]:
    """Yields the lines of `document` that are not empty, long ones in parts that sentencepiece accepts.

    A part ends before a space where there is one, so that no word is cut; all parts of a line joined are the line.
    """
    for line in _CUTS.split(document):
        start = 0
        while len(line) - start > _MAX_SENTENCE_CHARACTERS:
            limit = start + _MAX_SENTENCE_CHARACTERS
            space = line.rfind(" ", start + 1, limit + 1)
            end = space if space > 0 else limit
            yield line[start:end]
            start = end
        if start < len(line):
            yield line[start:]


def _explained(config: TokenizerConfig, message: str) -> UsageError | DataError:
    if match := _TOO_LARGE.search(message):
        return VocabularySizeError(
            f"tokenizer vocab_size {config.vocab_size} is more than this training text can fill; the largest possible "
            f"with algorithm {config.algorithm!r} is {match[1]}: choose that or less, or give more text",
            int(match[1]),
        )
    if match := _TOO_SMALL.search(message):
        fallback = ", the 256 bytes" if config.byte_fallback else ""
        return VocabularySizeError(
            f"tokenizer vocab_size {config.vocab_size} is too small; the characters of this training text{fallback} "
            f"and the special ids need {match[1]}: choose that or more, or lower character_coverage",
            int(match[1]),
        )
    return DataError(f"sentencepiece cannot learn from this text: {' '.join(message.split())}")
