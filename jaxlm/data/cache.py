"""Folders that are built once and found again by what went into them.

An entry's name is a hash of its inputs, so nothing ever has to be invalidated: other inputs are another folder. An
entry is written beside its final place and renamed, so a process that is killed leaves no half entry under the final
name, and two processes that build the same entry both end up with one whole one.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError

logger = logging.getLogger("jaxlm.data")

MANIFEST = "manifest.json"
# What reading an entry that is not as it was written raises.
DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
ABANDONED_SECONDS = 2 * 24 * 3600  # an unfinished build this old belongs to a process that was killed
_compared: dict[Path, tuple[int, int, int, str]] = {}  # files whose contents this process has found sound


def digest(inputs: Any) -> str:
    """Returns the sha256 of JSON-able inputs, the same in every process and Python version."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_folder(path: Path, build: Callable[[Path], dict[str, Any]], *, what: str) -> tuple[dict[str, Any], bool]:
    """Returns the facts about the entry at `path` and whether it was there already; builds it where it was not.

    Args:
      path: the entry's final folder; its name must be derived from all of `build`'s inputs.
      build: fills the empty folder that it is given and returns the facts (JSON-able) to keep with it.
      what: the entry's name in log lines.

    Raises:
      DataError: the cache cannot be written. Whatever `build` raises passes through, leaving nothing behind.
    """
    if path.exists():
        try:
            facts = _verified_facts(path)
        except DAMAGE as error:
            logger.warning("%s in the cache is damaged (%s); building it again: %s", what, error, path)
        else:
            logger.info("%s: reused %s", what, path)
            return facts, True
    started = time.monotonic()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise DataError(f"cannot write the cache at {path.parent}: {error}; set data.cache_dir") from error
    try:
        facts = build(unfinished)
        _write_manifest(unfinished, facts)
        _publish(unfinished, path)
    except OSError as error:
        raise DataError(f"cannot write {what} to the cache at {path}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("%s: built %s in %.1f s", what, path, time.monotonic() - started)
    return facts, False


def _verified_facts(path: Path) -> dict[str, Any]:
    """Returns an entry's facts after comparing its files with its manifest; raises one of DAMAGE if anything differs.

    A file that this process has compared is read again only if it was written to since.
    """
    manifest = json.loads((path / MANIFEST).read_text())
    for name, recorded in manifest["files"].items():
        file = path / name
        status = file.stat()
        if status.st_size != recorded["size"]:
            raise ValueError(f"{name} has {status.st_size} bytes instead of {recorded['size']}")
        known = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, recorded["sha256"])
        if _compared.get(file) != known:
            if file_sha256(file) != recorded["sha256"]:
                raise ValueError(f"{name} does not have the sha256 it was written with")
            _compared[file] = known
    if digest(manifest["facts"]) != manifest["facts_sha256"]:
        raise ValueError(f"{MANIFEST} was changed")
    return manifest["facts"]


def _write_manifest(path: Path, facts: dict[str, Any]) -> None:
    files = {
        file.relative_to(path).as_posix(): {"size": file.stat().st_size, "sha256": file_sha256(file)}
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    manifest = {"facts": facts, "facts_sha256": digest(facts), "files": files}
    (path / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def _publish(unfinished: Path, path: Path) -> None:
    """Renames a finished entry to its final place, giving way to another process's entry if that is whole."""
    os.chmod(unfinished, 0o755)  # mkdtemp makes folders that only the owner can read; a cache is often shared
    for _ in range(10):
        try:
            os.rename(unfinished, path)
            return
        except OSError:
            if not path.exists():
                raise
        try:
            _verified_facts(path)
            return
        except DAMAGE:
            # A folder that is not empty cannot be renamed over: move the damaged one out of the way first. Another
            # process may do the same at this moment, hence the loop.
            damaged = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, damaged / "damaged")
            shutil.rmtree(damaged, ignore_errors=True)
    raise OSError(f"{path} keeps changing while it is replaced")


def _remove_abandoned(path: Path) -> None:
    """Deletes the unfinished builds of this entry that killed processes left behind."""
    for folder in path.parent.glob(f".{path.name}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
