"""The memory of a preparation does not depend on the size of the corpus."""

import json
import subprocess
import sys

import pytest

from .preparation_helpers import paragraphs

MEASURE = r"""
import json, re, sys
from jaxlm.data.preparation import duplicates
from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.data.preparation.run import prepare
duplicates._PART_ROWS = 30_000  # what is held at a time: reached by the small corpus already
file, out, tokenizer = sys.argv[1:]
config = PreparationConfig(source="jsonl", files=(file,), tokenizer=tokenizer, shard_bytes=1 << 20, deduplicate="exact")
manifest = prepare(config, out, 1)
# Not ru_maxrss, which a process inherits from the one that started it.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) / 1024
print(json.dumps([manifest["kept"]["documents"], peak]))
"""


@pytest.mark.slow
def test_twenty_times_the_text_takes_the_same_memory(tmp_path, tokenizer_folder):
    texts = paragraphs(3000)
    peaks = {}
    for times in (1, 20):
        path = tmp_path / f"{times}.jsonl"
        with open(path, "w") as file:
            for copy in range(times * 10):
                file.writelines(json.dumps({"text": f"{copy} {text}"}) + "\n" for text in texts)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, path, tmp_path / str(times), tokenizer_folder],
            capture_output=True,
            text=True,
            check=True,
        )
        documents, peaks[times] = json.loads(done.stdout)
        assert documents == times * 30_000
    assert peaks[20] < 1.15 * peaks[1], peaks
