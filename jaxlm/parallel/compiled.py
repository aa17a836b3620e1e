"""Compiled programs, kept between processes: a second process begins at once with what the first one compiled.

JAX names an entry by the program, its options and its own version; the folder is that of this machine's kind of
processor, since what is compiled for one may use instructions that another lacks. An entry that cannot be read is
compiled anew, with a warning.
"""

import contextlib
import hashlib
import logging
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

from jaxlm.local_paths import cache_root

logger = logging.getLogger("jaxlm.parallel")

VARIABLE = "JAXLM_COMPILATION_CACHE"
MOST_BYTES = 2 << 30  # beyond this, what was not used for longest is deleted when a process starts
WORTHWHILE_SECONDS = 0.5  # of compiling


def keep_compiled() -> Path | None:
    """Has this process keep what it compiles, and use what was kept; call it before anything is compiled.

    The folder is `compiled/` of $JAXLM_CACHE (or of ~/.cache/jaxlm), or the one that $JAXLM_COMPILATION_CACHE names,
    where "off" keeps nothing. A cache that JAX itself was told to use (JAX_COMPILATION_CACHE_DIR) stays as it is.

    Returns:
      The folder; None if nothing is kept, or it cannot be written, which is logged.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir:
        return Path(config.jax_compilation_cache_dir)
    setting = os.environ.get(VARIABLE, "")
    if setting.lower() in ("off", "0", "no", "false"):
        return None
    root = Path(setting).expanduser() if setting else cache_root() / "compiled"
    folder = root / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("it cannot be written")
        delete_oldest(root, MOST_BYTES)
    except OSError as error:
        logger.warning("compiled programs are not kept in %s: %s (%s=off says so)", folder, error, VARIABLE)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTHWHILE_SECONDS)
    return folder


def delete_oldest(root: Path, most_bytes: int) -> None:
    """Deletes files below a folder, those unused for longest first, until they have no more than half of `most_bytes`.

    Nothing happens while they have no more than `most_bytes`. Other processes may write and delete there as well.
    """
    found = []
    for path in root.rglob("*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if path.is_file():
                found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= most_bytes:
        return
    for _, size, path in sorted(found):
        if total <= most_bytes // 2:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size


def _processor() -> str:
    """A name for the kind of processor: its architecture, and a hash of its model and of what it is able to do."""
    text = platform.processor()
    with contextlib.suppress(OSError):
        described = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
        # Of the first core; speeds and the like differ from one moment to the next.
        text += "".join(re.findall(r"^(?:model name|flags|Features)\s*:.*$", described, re.MULTILINE)[:2])
    return f"{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
