"""`import jaxlm` in the folder above a checkout called jaxlm, which looks like an empty package of that name."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def test_the_package_is_found_beside_the_folder_of_its_name(tmp_path):
    (tmp_path / "jaxlm").symlink_to(CHECKOUT)
    # An editable install in this mode puts the checkout on the path, as PYTHONPATH does.
    options = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["tool"]["distutils"]["editable_wheel"]
    assert options == {"mode": "compat"}
    code = "import jaxlm; print(jaxlm.Experiment.__name__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert (found.stdout, found.stderr) == ("Experiment\n", "")
