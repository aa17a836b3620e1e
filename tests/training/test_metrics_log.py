import json
import math
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import DataError
from jaxlm.training import metrics_log
from jaxlm.training.metrics_log import KINDS, TIMING_FIELDS, MetricsLog, comparable


@pytest.fixture
def log(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    yield log
    log.close()


def bits(value):
    return struct.pack("<d", value) if isinstance(value, float) else value


NUMBERS_AS_TEXT = {"NaN", "Infinity", "-Infinity"}
names = st.text(min_size=1).filter(lambda name: name not in ("step", "kind"))
values = st.one_of(
    st.floats(),
    st.floats(width=32),
    st.integers(),
    st.booleans(),
    st.none(),
    st.text(st.characters()).filter(lambda text: text not in NUMBERS_AS_TEXT),
    st.lists(st.text(st.characters()) | st.sampled_from(sorted(NUMBERS_AS_TEXT))),
)
records = st.tuples(st.integers(0, 2**40), st.sampled_from(KINDS), st.dictionaries(names, values, max_size=4))


@settings(max_examples=100)
@given(st.lists(records, max_size=6))
def test_every_record_reads_back_bit_for_bit(tmp_path_factory, written):
    log = MetricsLog(tmp_path_factory.mktemp("log") / "metrics.jsonl")
    for step, kind, content in written:
        log.append(step, content, kind)
    log.close()

    read = log.read()

    assert len(read) == len(written)
    for record, (step, kind, content) in zip(read, written, strict=True):
        assert list(record) == ["step", "kind", *content]
        assert (record["step"], record["kind"]) == (step, kind)
        for name, value in content.items():
            assert type(record[name]) is type(value)
            if isinstance(value, float) and math.isnan(value):
                assert math.isnan(record[name])
            else:
                assert bits(record[name]) == bits(value)


def test_array_scalars_become_plain_numbers_of_the_same_value(log):
    value = np.float32(0.1)
    content = {"loss": value, "tokens": np.int64(2**53 + 1), "rate": np.float64(1 / 3), "ok": np.bool_(True)}
    log.append(np.int32(3), {**content, "norm": np.array(2.5, np.float16)})
    [record] = log.read()
    assert np.float32(record["loss"]) == value
    assert record["tokens"] == 2**53 + 1
    assert record["rate"] == 1 / 3
    assert record["ok"] is True
    assert record["norm"] == 2.5
    assert type(record["step"]) is int


def test_non_finite_values_are_valid_json(log):
    log.append(1, {"loss": math.nan, "high": math.inf, "low": -math.inf})
    parsed = json.loads(log.path.read_text(), parse_constant=pytest.fail)
    assert parsed == {"step": 1, "kind": "train", "loss": "NaN", "high": "Infinity", "low": "-Infinity"}


@pytest.mark.parametrize(
    ("content", "kind", "match"),
    [
        ({"loss": 1.0}, "training", "unknown kind of record 'training'"),
        ({"step": 1}, "train", "cannot be called 'step'"),
        ({"name": "NaN"}, "event", "would read back as a number"),
        ({"loss": np.zeros(2)}, "train", "metric 'loss' must be a number"),
        ({"loss": {"a": 1}}, "train", "got dict"),
        ({"loss": 1j}, "train", "got complex"),
        ({"text": ["a", 1]}, "sample", "got list"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_no_trace(log, content, kind, match):
    with pytest.raises(ValueError, match=match):
        log.append(1, content, kind)
    assert log.read() == []
    assert not log.path.exists()


def test_a_record_can_be_read_as_soon_as_it_is_appended(log):
    for step in range(1, 4):
        log.append(step, {"loss": 1.0 / step})
        assert [record["step"] for record in MetricsLog(log.path).read()] == list(range(1, step + 1))
    log.sync()


def test_each_record_is_one_write(log, monkeypatch):
    log.append(1, {"loss": 1.0})
    sizes = []
    real = log._file

    class Counting:
        def write(self, data):
            sizes.append(len(data))
            return real.write(data)

        def close(self):
            real.close()

    log._file = Counting()
    log.append(2, {"text": ["long " * 20_000]}, "sample")
    assert len(sizes) == 1
    assert sizes[0] > 100_000
    assert len(log.read()) == 2


def test_a_failed_write_leaves_no_torn_line_behind(log):
    log.append(1, {"loss": 1.0})
    real = log._file

    class FullDisk:
        room = 10

        def write(self, data):
            if not self.room:
                raise OSError(28, "No space left on device")
            written = real.write(data[: self.room])
            self.room = 0
            return written

        def close(self):
            real.close()

    log._file = FullDisk()
    with pytest.raises(OSError, match="No space left"):
        log.append(2, {"loss": 2.0})
    log.append(3, {"loss": 3.0})
    assert [record["step"] for record in log.read()] == [1, 3]


@pytest.mark.parametrize("torn", [b'{"step": 3, "ki', b'{"step": 3, "kind": "train"}', b"\0\0\0\0", b"\xff"])
def test_a_torn_last_line_is_passed_over_and_then_removed(log, torn):
    log.append(1, {"loss": 1.0})
    log.append(2, {"loss": 2.0})
    log.close()
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + torn)

    assert [record["step"] for record in log.read()] == [1, 2]
    rewound = MetricsLog(log.path)
    rewound.rewind(2)
    assert log.path.read_bytes() == whole

    log.path.write_bytes(whole + torn)
    log.append(3, {"loss": 3.0})
    assert [record["step"] for record in log.read()] == [1, 2, 3]


def test_a_file_that_is_one_torn_line_is_empty(log):
    log.path.write_bytes(b'{"step"')
    assert log.read() == []
    log.append(1, {})
    assert [record["step"] for record in log.read()] == [1]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[1]",
        b'{"kind": "train"}',
        b'{"step": "1", "kind": "train"}',
        b'{"step": true, "kind": "train"}',
        b'{"step": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_corrupt_line_is_named(log, line):
    log.append(1, {})
    log.close()
    log.path.write_bytes(log.path.read_bytes() + line + b'\n{"step": 2, "kind": "train"}\n')
    before = log.path.read_bytes()
    for use in (log.read, lambda: log.rewind(1)):
        with pytest.raises(DataError, match=r"metrics\.jsonl:2: not a metrics record"):
            use()
    assert log.path.read_bytes() == before


def test_rewind_keeps_the_records_up_to_the_step_as_they_are(log):
    for step in (10, 20, 30):
        log.append(step, {"loss": 0.1 * step})
        log.append(step, {"loss": math.nan}, "validation")
    before = log.path.read_bytes().splitlines(keepends=True)

    log.rewind(20)

    assert log.path.read_bytes() == b"".join(before[:4])
    log.append(30, {"loss": 0.1 * 30})
    log.append(30, {"loss": math.nan}, "validation")
    assert log.path.read_bytes() == b"".join(before)
    log.rewind(0)
    assert log.read() == []


def test_rewind_of_nothing_creates_nothing(log):
    log.rewind(5)
    assert list(log.path.parent.iterdir()) == []


def test_a_crash_while_rewinding_leaves_the_old_file_whole(log, monkeypatch):
    log.append(1, {})
    log.append(2, {})
    before = log.path.read_bytes()

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(metrics_log.os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            log.rewind(1)
    assert log.path.read_bytes() == before
    log.rewind(1)
    assert [record["step"] for record in log.read()] == [1]


def test_comparable_is_what_a_resumed_run_shares_with_an_unbroken_one(tmp_path):
    def train(log, steps, speed):
        for step in steps:
            log.append(step, {"loss": math.nan if step == 2 else -0.0, "seconds": speed, "mfu": speed})
            log.append(step, {"loss": 1 / step, "seconds": speed}, "validation")

    unbroken, resumed = MetricsLog(tmp_path / "a.jsonl"), MetricsLog(tmp_path / "b.jsonl")
    train(unbroken, range(1, 6), 0.5)
    train(resumed, range(1, 5), 0.25)
    resumed.rewind(3)
    resumed.append(3, {"name": "resumed"}, "event")
    train(resumed, range(4, 6), 0.125)
    unbroken.close()
    resumed.close()

    assert comparable(unbroken.read()) == comparable(resumed.read())
    assert len(comparable(unbroken.read())) == 10
    changed = [{**record, "loss": 0.0} for record in resumed.read()]  # -0.0 is another number
    assert comparable(unbroken.read()) != comparable(changed)


def test_the_timing_fields_are_named():
    assert {"seconds", "tokens_per_second", "tflops_per_second", "mfu", "input_wait"} <= TIMING_FIELDS
    assert not {"loss", "learning_rate", "gradient_norm", "tokens"} & TIMING_FIELDS


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_writer_loses_no_record_that_it_finished(tmp_path):
    path = tmp_path / "metrics.jsonl"
    code = (
        "import sys, os, signal; from jaxlm.training.metrics_log import MetricsLog\n"
        "log = MetricsLog(sys.argv[1])\n"
        "for step in range(50): log.append(step, {'loss': 0.1 * step})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert [record["loss"] for record in MetricsLog(path).read()] == [0.1 * step for step in range(50)]
