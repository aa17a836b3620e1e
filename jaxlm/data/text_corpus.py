"""A TFDS builder for text that lies in files. Imports tensorflow_datasets (0.5 s), never TensorFlow."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from jaxlm.data.splits import SPLITS, Counts, Splitter

SHARD_BYTES = 64 << 20  # of text; TFDS keeps the examples of one shard in memory while it writes


class TextCorpus(tfds.core.ShardBasedBuilder):
    """Documents of text in corpus order, as the splits 'train' and 'validation'; features: {"text": Text}.

    Shard based, since TFDS's generator-based writer shuffles, and beyond 1 GB it does so through TensorFlow's files.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, splitter: Splitter, counts: dict[str, Counts], **kwargs: Any):
        """Prepares nothing yet.

        Args:
          splitter: yields the texts of each split.
          counts: what it yields, by split.
          **kwargs: as for every TFDS builder, `data_dir` above all; the file format is always array_record.
        """
        self._splitter = splitter
        self._counts = counts
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Documents of text, in their original order.",
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Callable[[], Iterator[Any]]]]:
        del dl_manager  # nothing is downloaded
        return {split: self._shards(split) for split in SPLITS}

    def _shards(self, split: str) -> list[Callable[[], Iterator[Any]]]:
        counts = self._counts[split]
        shards = max(1, min(counts.documents, counts.bytes // SHARD_BYTES))
        # TFDS writes the shards one after another, so they can all draw from one pass over the text.
        examples = ((index, {"text": text}) for index, text in enumerate(self._splitter.texts(split)))
        bounds = [counts.documents * shard // shards for shard in range(shards + 1)]
        return [functools.partial(itertools.islice, examples, end - start) for start, end in itertools.pairwise(bounds)]
