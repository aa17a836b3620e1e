"""A preparation on one machine: planned, spread over its cores, gone on with where it was killed."""

import dataclasses
import fcntl
import functools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxlm.data.cache import digest, file_sha256
from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.data.preparation.contamination import evaluation_files
from jaxlm.data.preparation.duplicates import find_duplicates, has_fingerprints, read_drops
from jaxlm.data.preparation.plan import Plan, Unit, make_plan
from jaxlm.data.preparation.shard import (
    QUARANTINE,
    WORK,
    Tools,
    UnitPaths,
    fingerprint_unit,
    finished_report,
    tools_of,
    write_unit,
    write_whole,
)
from jaxlm.data.preparation.tally import Tally
from jaxlm.data.preparation.workers import unordered_map, usable_cores
from jaxlm.data.prepared import MANIFEST, read_manifest, verify_shards
from jaxlm.errors import DataError, UsageError
from jaxlm.local_paths import naming, refuse_address

logger = logging.getLogger("jaxlm.data")

FORMAT = 1  # counts up when what is written changes
PLAN = "plan.json"
TOKENIZER = "tokenizer"
_SAY_SECONDS = 10.0


# What does a function to each of many units, anywhere and in any order, and gives what it returned.
Spread = Callable[[Callable[[tuple[int, Unit]], int], list[tuple[int, Unit]]], Iterable[int]]


def prepare(config: PreparationConfig, out: str | os.PathLike[str], workers: int = 0) -> dict[str, Any]:
    """Prepares a corpus in the folder `out`, or goes on with it there, and returns its manifest.

    The folder then holds shard-*.array_record, tokenizer/, quarantine.jsonl if anything was corrupt, and manifest.json,
    which is written last. None of it depends on the workers, nor on how often the work was interrupted. Memory depends
    on the workers and the longest document, not on the corpus. Progress is logged to "jaxlm.data".

    Args:
      config: what to read and how.
      out: a new or empty folder, or that of the same preparation.
      workers: processes; 0 takes as many as there are cores. More than one needs an importable `__main__`.

    Raises:
      UsageError: an impossible configuration, missing files, or a folder of something else.
      DataError: unreadable files, nothing left, or text that the tokenizer cannot represent.
    """
    if workers < 0:
        raise UsageError(f"workers is {workers}; it must be 0 (all cores) or positive")
    processes = workers or usable_cores()

    def spread(function: Callable[[tuple[int, Unit]], int], units: list[tuple[int, Unit]]) -> Iterable[int]:
        return unordered_map(function, units, min(processes, len(units) or 1))

    return prepare_by(spread, config, out)


def prepare_by(spread: Spread, config: PreparationConfig, out: str | os.PathLike[str]) -> dict[str, Any]:
    """Does what `prepare` does, and has `spread` do the work of the units; `jaxlm.data.beam` has another one.

    Raises:
      UsageError, DataError: as `prepare`.
    """
    refuse_address(out)
    folder = Path(out).expanduser()
    config.validate()
    tools = tools_of(config)
    plan = make_plan(config, threads=min(usable_cores(), 8))
    with naming(folder), _claimed(folder, _identity(tools, plan)):
        if (folder / MANIFEST).exists():
            manifest = read_manifest(folder)
            verify_shards(folder, manifest)
            logger.info("%s is prepared already", folder)
            return manifest
        tools.tokenizer.save(folder / TOKENIZER)
        if config.deduplicate != "none":
            _find_duplicates(spread, config, folder, plan)
        _write_units(spread, config, folder, plan)
        return _finish(tools, folder, plan)


def _identity(tools: Tools, plan: Plan) -> dict[str, str]:
    """Returns hashes of all that decides a preparation's output, by what they stand for."""
    return {
        "format": digest(FORMAT),
        "settings": digest(settings_of(tools.config)),
        "tokenizer": tools.tokenizer.fingerprint(),
        "input": digest(plan.identity()),
    }


def settings_of(config: PreparationConfig) -> dict[str, Any]:
    """Returns the settings that decide the output; the files are named by the plan, the tokenizer by its hash."""
    settings = json.loads(json.dumps(dataclasses.asdict(config)))  # lists, as a manifest has them
    for name in ("files", "tokenizer", "builder_dir", "decontaminate"):
        del settings[name]
    # The sets by their content, and the libraries whose versions decide.
    settings["decontaminate_sha256"] = [file_sha256(path) for path in evaluation_files(config.decontaminate)]
    libraries = {"datasketch": config.deduplicate == "near", "py3langid": bool(config.languages)}
    settings["libraries"] = {name: metadata.version(name) for name, used in libraries.items() if used}
    return settings


@contextmanager
def _claimed(folder: Path, identity: dict[str, str]) -> Iterator[None]:
    """Makes the folder this preparation's, or makes sure that it is, and holds it against other processes."""
    claim = folder / PLAN
    if folder.is_dir() and not claim.exists() and any(entry.name != WORK for entry in folder.iterdir()):
        raise UsageError(f"{folder} holds something else already: name a new folder")
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    with open(folder / WORK / "lock", "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except OSError as error:
            raise UsageError(f"another process prepares {folder} at this moment") from error
        if claim.exists():
            try:
                before = json.loads(claim.read_bytes())
                changed = [name for name in identity if identity[name] != before.get(name)]
            except (ValueError, AttributeError) as error:
                raise DataError(f"{claim} is damaged: {error}; delete the folder and start again") from error
            if changed:
                raise UsageError(
                    f"{folder} holds another preparation (other {' and '.join(changed)}): name a new folder"
                )
        else:
            write_whole(claim, json.dumps(identity, indent=1).encode() + b"\n")
        for left in (folder / WORK).glob("*.tmp"):
            left.unlink()
        try:
            yield
        finally:
            if (folder / MANIFEST).exists():
                shutil.rmtree(folder / WORK, ignore_errors=True)


def _find_duplicates(spread: Spread, config: PreparationConfig, folder: Path, plan: Plan) -> None:
    done = folder / WORK / "duplicates.done"
    if done.exists():
        return
    prefixes = [UnitPaths(folder, number).fingerprints for number in range(len(plan.units))]
    todo = [(number, plan.units[number]) for number, prefix in enumerate(prefixes) if not has_fingerprints(prefix)]
    logger.info("fingerprints of %d of %d shards", len(todo), len(plan.units))
    for _ in spread(functools.partial(_fingerprint_one, config, folder), todo):
        pass
    near = config.near_threshold if config.deduplicate == "near" else None
    find_duplicates(prefixes, near, logger.info)
    write_whole(done, b"")


def _fingerprint_one(config: PreparationConfig, folder: Path, numbered: tuple[int, Unit]) -> int:
    number, unit = numbered
    fingerprint_unit(tools_of(config), UnitPaths(folder, number), unit)
    return number


def _write_units(spread: Spread, config: PreparationConfig, folder: Path, plan: Plan) -> None:
    todo = []
    for number, unit in enumerate(plan.units):
        if finished_report(UnitPaths(folder, number)) is None:
            todo.append((number, unit))
    done = len(plan.units) - len(todo)
    if done:
        logger.info("%d of %d shards are there already", done, len(plan.units))
    started = said = time.monotonic()
    size = 0
    for number in spread(functools.partial(_write_one, config, folder), todo):
        done += 1
        size += sum(span.size for span in plan.units[number])
        now = time.monotonic()
        if now - said >= _SAY_SECONDS:
            said = now
            rate = size / 1e6 / (now - started)
            logger.info("shard %d of %d, %.1f MB of input a second", done, len(plan.units), rate)


def _write_one(config: PreparationConfig, folder: Path, numbered: tuple[int, Unit]) -> int:
    number, unit = numbered
    paths = UnitPaths(folder, number)
    write_unit(tools_of(config), paths, unit, read_drops(paths.fingerprints))
    return number


def _finish(tools: Tools, folder: Path, plan: Plan) -> dict[str, Any]:
    """Puts the reports of all units together, writes the manifest and returns it.

    Raises:
      DataError: no document is left, or a report is missing.
    """
    total, shards = Tally(), []
    quarantine = folder / WORK / QUARANTINE
    with open(quarantine, "wb") as file:
        for number in range(len(plan.units)):
            paths = UnitPaths(folder, number)
            try:
                report = json.loads(paths.report.read_bytes())
            except OSError as error:
                raise DataError(f"{paths.report} is missing: {error}; start again") from error
            total.add(report["tally"])
            if report["shard"] is not None:
                kept = report["tally"]["kept"]
                shards.append({**report["shard"], "tokens": kept["tokens"], "text_bytes": kept["text_bytes"]})
            if report["quarantine"] is not None:
                with open(paths.quarantine, "rb") as part:
                    shutil.copyfileobj(part, file)
    facts = total.facts
    if not facts["kept"]["tokens"]:
        lost = {name: entry["documents"] for name, entry in facts["dropped"].items()}
        lost |= {name: entry["records"] for name, entry in facts["corrupt"].items()}
        first = next((f": {s['place']}: {s['problem']}" for e in facts["corrupt"].values() for s in e["samples"]), "")
        raise DataError(f"no text is left of {facts['read']['documents']} documents ({lost or 'none'}){first}")
    if facts["corrupt"]:
        os.replace(quarantine, folder / QUARANTINE)
    manifest = {
        "format": FORMAT,
        "settings": settings_of(tools.config),
        "tokenizer": {"fingerprint": tools.tokenizer.fingerprint(), "vocab_size": tools.tokenizer.vocab_size},
        "inputs": plan.inputs,
        **facts,
        "shards": shards,
        "quarantine_sha256": file_sha256(folder / QUARANTINE) if facts["corrupt"] else None,
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n")
    return manifest
