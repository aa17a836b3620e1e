"""Compiled programs between processes: kept and used again, bounded, and never a reason to fail."""

import os
import subprocess
import sys

import jax
import pytest

from jaxlm.parallel.compiled import VARIABLE, delete_oldest, keep_compiled

PROGRAM = """
import jax, jax.numpy as jnp
from jax._src import monitoring
hits = []
monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
from jaxlm.parallel import compiled
compiled.WORTHWHILE_SECONDS = 0.0
folder = compiled.keep_compiled()
print("folder", folder)
print("result", float(jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.ones((8, 8)))))
print("found", len(hits) > 0)
"""


def run(folder):
    names = {"JAXLM_CACHE": str(folder), "JAXLM_COMPILATION_CACHE": "", "JAX_COMPILATION_CACHE_DIR": ""}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=os.environ | names, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines()), done.stderr


def test_a_second_process_finds_what_the_first_compiled_and_damage_is_compiled_anew(tmp_path):
    first, _ = run(tmp_path)
    assert first["found"] == "False"
    assert first["folder"].startswith(str(tmp_path / "compiled"))
    second, stderr = run(tmp_path)
    assert (second["found"], second["result"], stderr) == ("True", first["result"], "")
    entries = list((tmp_path / "compiled").rglob("*-cache"))
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:100])
    third, stderr = run(tmp_path)
    assert (third["found"], third["result"]) == ("False", first["result"])
    assert "Error reading persistent compilation cache entry" in stderr


def test_it_can_be_off_and_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("JAXLM_CACHE", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "off")
    assert keep_compiled() is None
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    assert keep_compiled() is None
    assert "compiled programs are not kept in" in caplog.text
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize(("most", "left"), [(40, ["0", "1", "2", "3"]), (39, ["3"])])
def test_what_was_not_used_for_longest_goes(tmp_path, most, left):
    for number in range(4):
        path = tmp_path / "machine" / str(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10)
        os.utime(path, (number, number))
    delete_oldest(tmp_path, most)
    assert sorted(path.name for path in (tmp_path / "machine").iterdir()) == left
