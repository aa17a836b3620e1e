"""A preparation as an Apache Beam pipeline (extra `beam`): the same units, by the same functions, on many machines."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.data.preparation.plan import Unit
from jaxlm.data.preparation.run import prepare_by
from jaxlm.errors import DataError, JaxlmError, UsageError


def prepare_with_beam(
    config: PreparationConfig, out: str | os.PathLike[str], flags: Sequence[str] = ()
) -> dict[str, Any]:
    """Prepares a corpus as `jaxlm.data.preparation.run.prepare` does, byte for byte, by Beam; returns its manifest.

    Planning, the pass over fingerprints and the manifest are done here; reading, fingerprints, filters, tokens and
    shards by Beam's workers. So the input, the tokenizer and `out` must be paths that all of them see (a shared file
    system), and they must have jaxlm. Either way can go on with what the other began.

    Args:
      config: what to read and how.
      out: the folder of the preparation.
      flags: Beam's, such as "--runner=FlinkRunner"; none is Beam's local runner.

    Raises:
      UsageError: Beam is not installed or does not know a flag; and as `prepare`.
      DataError: the pipeline failed; and as `prepare`.
    """
    beam = _beam()
    options = beam.options.pipeline_options.PipelineOptions(list(flags))
    unknown = sorted(set(options.get_all_options(retain_unknown_options=True)) - set(options.get_all_options()))
    if unknown:
        raise UsageError(f"Apache Beam knows no option --{unknown[0]}")

    def spread(function: Callable[[tuple[int, Unit]], int], units: list[tuple[int, Unit]]) -> Iterable[int]:
        if units:
            try:
                with beam.Pipeline(options=options) as pipeline:
                    # Reshuffled, so that units are not fused with their list into one task.
                    _ = (
                        pipeline
                        | "units" >> beam.Create(units)
                        | "spread" >> beam.Reshuffle()
                        | "do" >> beam.Map(function)
                    )
            except JaxlmError:
                raise
            except Exception as error:  # whatever a runner raises, with the worker's error in its text
                raise DataError(f"the pipeline failed; what is done is kept: {_last_line(error)}") from error
        return [number for number, _ in units]

    return prepare_by(spread, config, out)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]


def _beam() -> Any:
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
    except ImportError as error:
        raise UsageError("a Beam pipeline needs apache-beam: pip install 'jaxlm[beam]'") from error
    return apache_beam
