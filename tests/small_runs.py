"""Runs of seconds on a text of our own: in this process, or by the command line in another."""

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxlm.data.config import DataConfig
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.generation.config import GenerationConfig
from jaxlm.models.config import ModelConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig

from .quick_compilation import PROCESS

TEXT = "\n\n".join(
    f"The {age} {who} saw {number} {size} boats on the {color} lake"
    for number, age, who, size, color in itertools.product(
        range(2, 12), ("old", "young"), ("man", "woman", "sailor"), ("big", "small"), ("blue", "dark")
    )
)
PATIENCE = 120  # seconds after which a process that should have ended or written is taken for hung


def small_experiment(folder: Path, **changes: Any) -> Experiment:
    """A GPT of some thousand parameters, on 8 devices or fewer; its text is written to `folder`.

    Args:
      folder: where the text goes.
      **changes: fields of the experiment, or of a part as in `data__length=8`.
    """
    text = folder / "text.txt"
    text.write_text(TEXT)
    experiment = Experiment(
        name="small",
        seed=7,
        steps=40,
        batch_size=8,
        log_every=5,
        sample_every=0,
        sample_prompt="The",
        model=ModelConfig(num_layers=1, embed_dim=16, num_heads=2, dropout_rate=0.1, layers="unrolled"),
        data=DataConfig(source="text", files=(str(text),), length=16),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=5),
        evaluation=EvaluationConfig(every=10, batch_size=32),
        sampling=GenerationConfig(max_new_tokens=8, temperature=0.5),
        checkpoints=CheckpointConfig(every=10, keep_latest=3),
    )
    for name, value in changes.items():
        part, _, field = name.partition("__")
        experiment = replace(
            experiment, **{part: replace(getattr(experiment, part), **{field: value}) if field else value}
        )
    return experiment


def write_experiment_file(experiment: Experiment, path: Path) -> Path:
    """Writes a file that `jaxlm train` takes."""
    path.write_text(
        f"from jaxlm.experiment import Experiment\n\n\ndef experiment():\n"
        f"    return Experiment.from_dict({experiment.to_dict()!r})\n"
    )
    return path


class Process:
    """`jaxlm WORDS...` in a process of its own with one CPU device (or as many as `environment` says).

    Attributes:
      output: what it has written to standard output, once it has ended.
      errors: the same for standard error.
    """

    def __init__(self, *words: str | Path, **environment: str):
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of tests in the background, which a process inherits
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jaxlm.cli.main", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "XLA_FLAGS": PROCESS, **environment},
        )
        self._alarm = threading.Timer(PATIENCE, self._process.kill)
        self._alarm.start()
        self.output = self.errors = ""

    def wait_for_lines(self, count: int) -> None:
        """Returns after `count` more records of steps."""
        while count:
            line = self._process.stdout.readline()
            assert line, f"it ended too early:\n{self.output}\n{self._process.stderr.read()}"
            self.output += line
            count -= bool(re.match(r" *[\d,]+ +\d+\.\d% ", line))

    def wait_until_it_listens(self) -> None:
        """Returns once it watches for Ctrl-C, in a second thread."""
        while self.running() and len(os.listdir(f"/proc/{self._process.pid}/task")) < 2:
            time.sleep(0.001)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Waits for the end and returns the exit code."""
        output, self.errors = self._process.communicate()
        self.output += output
        self._alarm.cancel()
        return self._process.returncode
