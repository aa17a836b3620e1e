"""What a model is fed for a text or a pair of texts, and how a pair is cut to a length."""

from dataclasses import dataclass

from jaxlm.errors import UsageError


@dataclass(frozen=True)
class Encoding:
    """A text or a pair of texts as a model expects it, special ids included.

    Attributes:
      ids: the token ids.
      token_type_ids: for each id, which text it belongs to, numbered as the model's reference does: 0 and 1, and 2
        for XLNet's last token.
      offsets: for each id, the characters [start, end) of its own text that it stands for, (0, 0) for a special id
        that stands for none; None where the tokenizer does not tell.
      truncated: how many tokens of the texts were cut off to keep to the length; 0 means that all of the text is there.
    """

    ids: tuple[int, ...]
    token_type_ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...] | None = None
    truncated: int = 0

    def whole(self, what: str = "the text") -> "Encoding":
        """Returns itself, for callers who cannot do with part of the text.

        Raises:
          UsageError: something was cut off; the message calls it `what` and gives the count.
        """
        if self.truncated:
            raise UsageError(
                f"{what} is too long: {self.truncated} of its tokens do not fit into {len(self.ids)}; shorten it, "
                f"give a larger max_length, or split it"
            )
        return self


def kept_lengths(first: int, second: int | None, max_length: int | None, specials: int) -> tuple[int, int]:
    """Returns how many tokens of each text to keep: the longer one is cut first, as the reference does.

    The rule is `TruncationStrategy::LongestFirst` of the Rust library `tokenizers` (utils/truncation.rs), which cuts a
    pair of long texts to equal halves, the second one token longer where the room is odd.

    Args:
      first: tokens of the first text.
      second: tokens of the second; None where there is none.
      max_length: the most ids that may result; None means no limit.
      specials: special ids that are added on top.

    Raises:
      UsageError: the special ids alone are more than `max_length`.
    """
    if max_length is None:
        return first, second or 0
    room = max_length - specials
    if room < 0 or max_length < 1:
        raise UsageError(
            f"max_length {max_length} has no room for text: the model's special tokens alone are {specials}"
        )
    if second is None:
        return min(first, room), 0
    if first + second <= room:
        return first, second
    shorter, longer = sorted((first, second))
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room // 2 + room % 2
    return (shorter, longer) if first <= second else (longer, shorter)
