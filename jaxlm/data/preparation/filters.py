"""Which documents are left out for what they are, rather than for others that were there before."""

from collections.abc import Callable

from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.data.preparation.contamination import ContaminationFilter, evaluation_examples, evaluation_files
from jaxlm.data.preparation.language import LanguageFilter
from jaxlm.data.preparation.quality import c4, gopher_quality, gopher_repetition

# From a text to why it is dropped, as a reason and what was found; None keeps it.
Filter = Callable[[str], tuple[str, str] | None]

_QUALITY: dict[str, Filter] = {"gopher": gopher_quality, "gopher_repetition": gopher_repetition, "c4": c4}


def filters_of(config: PreparationConfig) -> list[Filter]:
    """Returns the filters that a configuration asks for, in the order in which they are asked.

    Raises:
      UsageError: a language that is not known, a library that is not installed, evaluation sets that are not there.
      DataError: an evaluation set that cannot be read.
    """
    filters: list[Filter] = [_QUALITY[name] for name in config.quality]
    if config.languages:
        filters.append(LanguageFilter(config.languages, config.language_confidence))
    if config.decontaminate:
        filters.append(ContaminationFilter(evaluation_examples(evaluation_files(config.decontaminate))))
    return filters
