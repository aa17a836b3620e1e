"""Paths are of this machine: an address of a bucket is none, and must not become a folder that looks like one."""

import os
import re

from jaxlm.errors import UsageError


def refuse_address(path: str | os.PathLike) -> None:
    """Makes sure that a path is none of `gs://bucket/run`, `s3://...`, `file:///...`.

    Raises:
      UsageError: it is.
    """
    text = os.fspath(path)
    # A Path has made one slash of two; a folder of this name would have been made by an older version at most.
    if isinstance(text, str) and re.match(
        r"(?:[A-Za-z][A-Za-z0-9+.-]*://|(?:gs|s3|r2|az|abfss?|hdfs|https?|file|hf):/)", text
    ):
        raise UsageError(
            f"{text} is no path of this machine, and jaxlm reads and writes nothing else: copy it here, or mount it "
            "and name the folder"
        )
