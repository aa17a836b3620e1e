import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "experiments" / "benchmarks" / "import_memory.py"


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--layers", "unrolled"], ["--layers", "scanned"], ["--verb"]])
def test_an_import_of_a_gigabyte_holds_little_more_than_that(options):
    command = [sys.executable, str(BENCHMARK), "--gigabytes", "1", *options]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ratio = float(re.search(r"([\d.]+)x \(", output)[1])
    assert 0.9 < ratio < 1.3, output
