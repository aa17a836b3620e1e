"""What a Hugging Face directory says of a model beyond its configuration and its way to generate: kept by a run."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.prediction.config import VectorConfig

# The names under which a description holds it.
IMPORTED_FACTS = ("token_ids", "labels", "vectors", "config", "generation")


@dataclass(frozen=True)
class Imported:
    """What an imported model keeps of its directory; a model that was trained here has none of it.

    Attributes:
      token_ids: special tokens under the names of config.json: an id, a list of ids, or None.
      labels: names of a classifier's labels, else empty.
      vectors: how a text becomes a vector, where the directory is one of sentence-transformers.
      config: fields of config.json that an export writes as they were; None for a model that was not imported.
      generation: fields of generation_config.json that mean something else than GenerationConfig can say, likewise.
    """

    token_ids: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    vectors: VectorConfig | None = None
    config: Mapping[str, Any] | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """This as plain values, for the description of a run folder."""
        return {
            "token_ids": dict(self.token_ids),
            "labels": list(self.labels),
            "vectors": None if self.vectors is None else dataclasses.asdict(self.vectors),
            "config": None if self.config is None else dict(self.config),
            "generation": dict(self.generation),
        }

    @staticmethod
    def from_facts(values: Mapping[str, Any], where: str) -> "Imported":
        """Reads what `facts` gave; what is absent is as in a model that was trained here.

        Args:
          values: the description of a run.
          where: what errors call it.

        Raises:
          DataError: it is damaged.
        """

        def taken(name: str, kind: type, none: Any) -> Any:
            value = values.get(name)
            if value is not None and not isinstance(value, kind):
                raise DataError(f"{where} is damaged: {name} must be {'a list' if kind is list else 'an object'}")
            return none if value is None else value

        token_ids, labels = taken("token_ids", dict, {}), taken("labels", list, [])
        flat = [one for each in token_ids.values() for one in (each if isinstance(each, list) else [each])]
        if not all(one is None or type(one) is int for one in flat):
            raise DataError(f"{where} is damaged: token_ids must be an object of token ids")
        if not all(isinstance(label, str) for label in labels):
            raise DataError(f"{where} is damaged: labels must be a list of texts")
        vectors = taken("vectors", dict, None)
        if vectors is not None:
            try:
                vectors = VectorConfig(**{**vectors, "pooling": tuple(vectors["pooling"])})
                vectors.validate()
            except (KeyError, TypeError, UsageError) as error:
                raise DataError(f"{where} is damaged: vectors: {str(error)[:200]}") from None
        return Imported(token_ids, tuple(labels), vectors, taken("config", dict, None), taken("generation", dict, {}))
