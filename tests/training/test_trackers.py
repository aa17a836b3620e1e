"""The event files are read with tensorboardX's protocol buffers and checksum: an implementation other than ours."""

import json
import math
import struct
import subprocess
import sys

import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.training.metrics_log import MetricsLog
from jaxlm.training.trackers import TensorBoardTracker, Trackers, open_trackers


def read_events(folder):
    """All events of a folder in TensorBoard's order, with every checksum verified."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    crc32c = pytest.importorskip("tensorboardX.crc32c")

    def masked(data):
        checksum = crc32c.crc32c(data)
        return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            assert data[8:12] == masked(data[:8])
            content, checksum = data[12 : 12 + length], data[12 + length : 16 + length]
            assert checksum == masked(content)
            events.append(event_pb2.Event.FromString(content))
            data = data[16 + length :]
    return events


def scalars(events):
    return [
        (event.step, value.tag, value.simple_value)
        for event in events
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    ]


def test_numbers_become_scalars_tagged_by_kind(tmp_path):
    tracker = TensorBoardTracker(tmp_path / "made" / "here")
    tracker.log(0, "train", {"loss": np.float32(0.1), "tokens": 300})
    tracker.log(2**40, "validation", {"loss": 3.5, "huge": 1e300, "tiny": -1e300, "none": None})
    tracker.log(128, "train", {"loss": math.nan})
    tracker.close()

    events = read_events(tmp_path / "made" / "here")

    assert events[0].file_version == "brain.Event:2"
    assert events[0].wall_time > 1.7e9
    *finite, last = scalars(events)
    assert finite == [
        (0, "train/loss", float(np.float32(0.1))),
        (0, "train/tokens", 300.0),
        (2**40, "validation/loss", 3.5),
        (2**40, "validation/huge", math.inf),
        (2**40, "validation/tiny", -math.inf),
    ]
    assert last[:2] == (128, "train/loss")
    assert math.isnan(last[2])


def test_samples_become_literal_text(tmp_path):
    tracker = TensorBoardTracker(tmp_path)
    tracker.log(7, "sample", {"text": ["# not a title\n<b>é</b>", "lone \ud800 surrogate", ""]})
    tracker.log(8, "event", {"name": "resumed"})
    tracker.log(9, "sample", {"text": []})
    tracker.close()

    _, sample, event = read_events(tmp_path)

    [value] = sample.summary.value
    assert (sample.step, value.tag) == (7, "sample/text")
    assert value.metadata.plugin_data.plugin_name == "text"
    assert [dim.size for dim in value.tensor.tensor_shape.dim] == [3]
    texts = [text.decode() for text in value.tensor.string_val]
    assert texts == ["    # not a title\n    <b>é</b>", "    lone ? surrogate", "    "]
    assert event.summary.value[0].tensor.string_val == [b"    resumed"]


def test_events_are_in_the_file_before_it_is_closed(tmp_path):
    tracker = TensorBoardTracker(tmp_path)
    tracker.log(1, "train", {"loss": 1.0})
    assert scalars(read_events(tmp_path)) == [(1, "train/loss", 1.0)]
    tracker.close()


def test_resuming_hides_the_steps_that_are_logged_again(tmp_path):
    for purge_step, steps in ((None, (1, 2, 3)), (3, (3, 4))):  # within one second: two files, in this order
        tracker = TensorBoardTracker(tmp_path, purge_step)
        for step in steps:
            tracker.log(step, "train", {"loss": float(step)})
        tracker.close()

    events = read_events(tmp_path)

    starts = [i for i, event in enumerate(events) if event.WhichOneof("what") == "session_log"]
    assert len(starts) == 1
    assert events[starts[0]].session_log.status == 1  # START
    assert events[starts[0]].step == 3
    assert [step for step, _, _ in scalars(events[: starts[0]])] == [1, 2, 3]
    assert [step for step, _, _ in scalars(events[starts[0] :])] == [3, 4]


def test_a_run_has_its_metrics_log_and_tensorboard_and_both_resume(tmp_path):
    trackers = open_trackers(tmp_path)
    for step in (10, 20, 30):
        trackers.log(step, "train", {"loss": 1.0 / step})
    trackers.close()
    trackers = open_trackers(tmp_path, resume_step=20)
    trackers.log(30, "train", {"loss": 1.0 / 30})
    trackers.close()

    assert [record["step"] for record in MetricsLog(tmp_path / "metrics.jsonl").read()] == [10, 20, 30]
    [start] = [event for event in read_events(tmp_path / "tensorboard") if event.WhichOneof("what") == "session_log"]
    assert start.step == 21


def test_a_run_may_do_without_tensorboard(tmp_path):
    trackers = open_trackers(tmp_path, names=())
    trackers.log(1, "train", {"loss": 1.0})
    trackers.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_an_unknown_tracker_is_named_before_anything_is_touched(tmp_path):
    with pytest.raises(UsageError, match=r"unknown tracker 'tensorbord' \(did you mean 'tensorboard'"):
        open_trackers(tmp_path, names=("tensorbord",))
    assert list(tmp_path.iterdir()) == []


def test_all_trackers_are_closed_even_when_one_fails():
    closed = []

    class Fails:
        def log(self, step, kind, values):
            pass

        def close(self):
            closed.append(self)
            raise OSError("gone")

    trackers = Trackers([Fails(), Fails()])
    trackers.log(1, "train", {})
    with pytest.raises(OSError, match="gone"):
        trackers.close()
    assert len(closed) == 2


def test_tracking_imports_no_framework():
    code = (
        "import sys, json\n"
        "import jaxlm.training.trackers, jaxlm.training.progress, jaxlm.training.report\n"
        "print(json.dumps([name for name in ('jax', 'torch', 'tensorflow', 'tensorboardX') if name in sys.modules]))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(shown) == []
