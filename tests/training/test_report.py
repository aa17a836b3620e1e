import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.training import report
from jaxlm.training.metrics_log import MetricsLog
from jaxlm.training.report import render_report, write_report

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' & <!-- {{data}} \u2028"
EXPERIMENT = {  # as RunFolder.write_experiment has it
    "name": "tiny",
    "experiment": {
        "name": "tiny",
        "steps": 400,
        "model": {"embed_dim": 64, "positions": {"kind": "rotary"}},
        "optimizer": {"name": "adamw", "betas": [0.9, 0.95], "clip": None},
    },
    "parameters": 33_123_456,
    "versions": {"jax": "0.10.2"},
    "machine": "8 x TPU v5 lite",
    "git_revision": "3f2c1d9e8b7a6c5d4e3f+changes",
}
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """The page as a browser splits it: elements, visible text, script bodies; and whether the tags balance."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.scripts, self.texts, self.stack = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] += data
        elif self.stack and self.stack[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def charts(self):
        return {chart["title"]: chart for chart in json.loads(self.scripts[0])["charts"]}


def records(steps=400, every=10):
    found = []
    for step in range(every, steps + 1, every):
        found.append(
            {"step": step, "kind": "train", "loss": 10 / step, "learning_rate": 1e-3, "gradient_norm": 1.5}
            | {"tokens": step * 1000, "seconds": 2.0, "tokens_per_second": 5000.0, "mfu": 0.41}
        )
        if step % 100 == 0:
            loss = 4.0 if step == 200 else 5.0 + 1 / step
            found.append({"step": step, "kind": "validation", "loss": loss, "perplexity": 54.6, "bits_per_byte": 1.25})
    return found


def test_the_report_tells_the_run(tmp_path):
    (tmp_path / "experiment.json").write_text(json.dumps(EXPERIMENT))
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for record in records():
        log.append(record["step"], {k: v for k, v in record.items() if k not in ("step", "kind")}, record["kind"])
    log.append(400, {"text": ["Once upon a time", "Zwölf Boxkämpfer"]}, "sample")
    log.append(200, {"name": "resumed"}, "event")
    log.close()

    path = write_report(tmp_path)

    assert path == tmp_path / "report.html"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["experiment.json", "metrics.jsonl", "report.html"]
    page = Page(path.read_text(encoding="utf-8"))
    for fact in (
        "finished at step 400, resumed once",
        "Best validation loss 4.0000 at step 200",
        "Final validation loss 5.0025 at step 400",
        "Perplexity 54.6 at step 200",
        "Bits per byte 1.25 at step 200",
        "Parameters 33.1 M 33,123,456",
        "Tokens seen 400 k 400,000",
        "Wall time 1 min 20 s",
        "Tokens per second 5 k median, 41.0% of peak FLOP/s",
        "git revision 3f2c1d9e8b7a with changes · 8 x TPU v5 lite · jax 0.10.2",
        "model 2 embed_dim 64",
        "positions.kind rotary",
        "betas 0.9, 0.95",
        "clip null",
        "Once upon a time",
        "Zwölf Boxkämpfer",
        "step 200 resumed",
    ):
        assert fact in page.text
    assert list(page.charts) == [
        "Loss", "Learning rate", "Gradient norm", "Throughput", "Perplexity", "Bits per byte",
    ]  # fmt: skip
    train, validation = page.charts["Loss"]["series"]
    assert (train["name"], train["x"][:2], train["y"][:2]) == ("train", [10, 20], [1.0, 0.5])
    assert (validation["name"], validation["x"]) == ("validation", [100, 200, 300, 400])
    assert "train from 1 at step 10 to 0.025 at step 400, lowest 0.025 at step 400" in page.charts["Loss"]["label"]


def test_the_page_is_accessible_and_needs_no_network():
    text = render_report(EXPERIMENT, records(), "run")
    page = Page(text)
    assert ("html", "lang", "en") in page.attributes
    assert page.text.startswith("tiny jaxlm training report tiny")
    assert page.tags.count("h1") == 1
    assert [name for _, name, _ in page.attributes if name in ("src", "href", "action", "srcset")] == []
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org/2000/svg)", text)
    assert "<noscript>" in text
    table = text[text.index("<table>") : text.index("</table>")]
    assert table.count("<tr") == 5
    assert '<th scope="col">bits per byte</th>' in table


def test_only_the_script_whose_hash_the_policy_names_can_run():
    text = render_report(EXPERIMENT, records(), "run")
    page = Page(text)
    [policy] = [value for tag, name, value in page.attributes if tag == "meta" and value and "default-src" in value]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert len(page.scripts) == 2
    assert [name for _, name, _ in page.attributes if name.startswith("on")] == []


def test_everything_from_outside_is_escaped():
    plain, hostile = Page(render_report({"name": "x"}, records(), "x")), HOSTILE
    experiment = {"name": hostile, hostile: {hostile: hostile}, "machine": hostile, "git_revision": hostile}
    given = [
        *records(),
        {"step": 490, "kind": "train", "loss": 1.0, hostile: 1.0},
        {"step": 500, "kind": "train", "loss": 1.0, hostile: 2.0, "note": hostile},
        {"step": 500, "kind": "validation", "loss": 1.0, hostile: hostile},
        {"step": 500, "kind": "sample", "text": [hostile]},
        {"step": 500, "kind": "event", "name": hostile, hostile: hostile},
    ]
    text = render_report(experiment, given, hostile)
    page = Page(text)

    assert len(page.scripts) == len(plain.scripts)
    assert "img" not in page.tags
    assert [name for _, name, _ in page.attributes if name.startswith("on")] == []
    assert page.scripts[1] == plain.scripts[1]
    assert HOSTILE.capitalize() in page.charts
    assert page.text.count("alert(1)") >= 8
    assert page.text.count("{{data}}") >= 8
    assert not {"<", ">", "&", "\u2028"} & set(page.scripts[0])


@pytest.mark.parametrize(
    "given",
    [
        [],
        [{"step": 0, "kind": "train"}],
        [{"step": 1, "kind": "train", "loss": 3.0}],
        [{"step": 1, "kind": "validation", "loss": 3.0}],
        [{"step": 1, "kind": "validation", "accuracy": 0.5}],
        [{"step": 1, "kind": "train", "loss": math.nan}, {"step": 1, "kind": "validation", "loss": math.inf}],
        [{"step": 1, "kind": "sample", "text": []}, {"step": 1, "kind": "sample"}],
        [{"step": 1, "kind": "train", "loss": "high", "gradient_norm": True, "tokens": 10**400}],
        [{"step": 1, "kind": "train", "loss": 1.7e308}, {"step": 2, "kind": "train", "loss": -1.7e308}],
        [{"step": 1, "kind": "later_kind", "loss": 1.0}],
    ],
)
@pytest.mark.parametrize("experiment", [{}, EXPERIMENT, {"model": {}, "steps": "many", "parameters": {"total": 1}}])
def test_a_run_with_little_to_tell_has_a_report(given, experiment):
    page = Page(render_report(experiment, given, "run"))
    assert page.tags.count("figure") == len(page.charts)


def test_values_that_are_not_finite_are_counted_not_drawn():
    given = [{"step": step, "kind": "train", "loss": math.nan if step > 7 else 1.0} for step in range(10)]
    page = Page(render_report({}, given, "run"))
    assert page.charts["Loss"]["series"][0]["x"] == list(range(8))
    assert "2 train values are not finite, first at step 8." in page.text


def test_one_value_has_no_chart_and_every_chart_names_its_axis():
    one = Page(render_report(EXPERIMENT, records(steps=10), "run"))
    assert one.charts == {}
    assert "figure" not in one.tags
    assert "Nothing has been measured yet." in one.text

    # At step 100 there is one evaluation beside ten steps: perplexity would be one dot, the loss is a curve.
    charts = Page(render_report(EXPERIMENT, records(steps=100), "run")).charts
    assert {title: chart["axis"] for title, chart in charts.items()} == {
        "Loss": "loss",
        "Learning rate": "learning rate",
        "Gradient norm": "gradient norm",
        "Throughput": "tokens per second",
    }


def test_changed_settings_come_first_and_the_others_are_folded():
    own = Experiment(steps=400, model=ModelConfig(num_layers=3)).to_dict()
    page = render_report({"experiment": own, "parameters": 12}, records(), "run")
    changed = page.index("Settings other than the defaults")
    folded = page.index("<details>")
    assert changed < folded
    table = page[changed:folded]
    names = re.findall(r'<th scope="row">(.*?)</th>', table)
    default = Experiment()
    assert f"<td>3</td><td>{default.model.num_layers}</td>" in table
    assert sorted(names) == ["model.num_layers", "steps"]
    assert '<th scope="row">embed_dim</th>' in page[folded:]
    assert "<details open" not in page


def test_the_head_tells_the_date_the_command_and_what_to_type_next():
    told = {"started": "2026-05-04 09:30 UTC", "command": "jaxlm train book.txt --dir 'my run'"}
    own = Experiment(steps=400).to_dict()
    for steps, following in ((200, "jaxlm train --dir 'my run'"), (400, "jaxlm generate 'my run' --prompt \"...\"")):
        page = Page(render_report({**told, "experiment": own}, records(steps=steps), "run", folder="my run"))
        assert "started 2026-05-04 09:30 UTC" in page.text
        assert "Command jaxlm train book.txt --dir 'my run'" in page.text
        assert f"Next {following}" in page.text


@pytest.mark.slow
def test_a_long_run_stays_small_and_keeps_its_extremes():
    given = [
        {"step": step, "kind": "train", **dict.fromkeys(("loss", "learning_rate", "gradient_norm"), 2.0 + step % 7)}
        | {f"other_{i}": step / 3 for i in range(12)}
        for step in range(1, 100_001)
    ]
    given[54_320]["loss"], given[54_321]["loss"] = 99.0, 0.5
    for step in range(100, 100_001, 100):
        given.append({"step": step, "kind": "validation", "loss": 50.0 if step != 77_700 else 1.0, "text": "t" * 5000})
        given.append({"step": step, "kind": "sample", "text": ["é<" * 20_000] * 10})
        given.append({"step": step, "kind": "event", "name": "e" * 5000})
    experiment = {f"section_{i}": {f"key_{j}": "v&" * 2000 for j in range(100)} for i in range(200)}

    text = render_report(experiment, given, "run")

    assert len(text.encode()) < 2_000_000
    page = Page(text)
    curve = page.charts["Loss"]["series"][0]
    assert 500 < len(curve["x"]) <= 1000
    assert (curve["x"][0], curve["x"][-1]) == (1, 100_000)
    assert (min(curve["low"]), max(curve["high"])) == (0.5, 99.0)
    assert curve["x"][:20] == list(range(1, 21))  # as sharp as the data where a log axis looks closely
    assert sum(x <= 1000 for x in curve["x"]) > 100
    assert all(low <= mean <= high for low, mean, high in zip(curve["low"], curve["y"], curve["high"], strict=True))
    assert re.search(r"10[0-2] of 1,000 evaluations", page.text)
    assert "77,700 1" in page.text
    assert re.search(r"\d+ of 1,000 steps", page.text)
    assert "100 of 200 sections" in page.text


def test_a_run_of_middling_length_is_drawn_point_by_point():
    given = [{"step": step, "kind": "train", "loss": float(step)} for step in range(2000)]
    [curve] = Page(render_report({}, given, "run")).charts["Loss"]["series"]
    assert curve == {"name": "train", "x": list(range(2000)), "y": [float(step) for step in range(2000)]}


def test_lone_surrogates_do_not_stop_the_report(tmp_path):
    (tmp_path / "experiment.json").write_text('{"name": "\\ud800"}')
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append(1, {"text": ["a\ud800b\0c"]}, "sample")
    log.close()
    write_report(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (None, UsageError, "no experiment.json in"),
        ("{", DataError, "experiment.json: not JSON"),
        ("[]", DataError, "expected a JSON object of sections, got list"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path, content, error, match):
    if content is not None:
        (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(error, match=match):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="a report needs the folder of a run"):
        write_report(tmp_path / "nowhere")


def test_a_crash_while_writing_leaves_the_old_report(tmp_path, monkeypatch):
    (tmp_path / "experiment.json").write_text("{}")
    before = write_report(tmp_path).read_bytes()

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxlm.training.metrics_log.os.replace", crash)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "kind": "train", "loss": 1.0}\n')
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path)
    assert (tmp_path / report.REPORT_FILE).read_bytes() == before


ACCOUNT = {
    **{"documents": 1200, "tokens": 90_000, "rows": 1500, "cut": 7, "skipped": {"shorter than two tokens": 3}},
    **{"left_out": {}, "fill_rate": 0.9876, "source": "web<b>"},
}
CORPUS = {
    "fingerprint": "0" * 64,
    "train": [ACCOUNT],
    "validation": [{**ACCOUNT, "fill_rate": None, "left_out": {"ends": 12}}],
    "prepared": {
        "web<b>": {
            **{"read": 2000, "kept": 1200, "dropped": {"near_duplicate": 700}, "quarantined": {"not_utf8": 2}},
            **{"scrubbed": {"email": 5}},
        },
    },
}
LEDGER = {"step": 400, "kind": "ledger", "rows": 3000, "tokens": 175_000, "predicted": 26_000, "padding": 25_000}


def data_of(page):
    text = page.text
    return text[text.index("Data Read") : text.index(" Experiment ")] if "Data Read" in text else ""


def test_the_report_says_what_was_read_and_what_was_not():
    ledgers = [{**LEDGER, "step": 200, "rows": 1500, "epochs": 1.0}, {**LEDGER, "epochs": 2.0}]
    text = render_report({**EXPERIMENT, "corpus": CORPUS}, ledgers, "run")
    assert "<b>" not in text
    page = Page(text)
    assert data_of(page) == (
        "Data Read up to step 400. source rows tokens read predicted padding fill epochs web<b> 3,000 175,000 26,000 "
        "25,000 87.5 % 2.00 How documents become rows: those that no row has as a whole are cut; what an epoch has no "
        "row for, and why. split source documents tokens rows an epoch documents cut skipped left out fill train "
        "web<b> 1,200 90,000 1,500 7 3 documents (shorter than two tokens) none 98.76 % validation web<b> 1,200 90,000 "
        "1,500 7 3 documents (shorter than two tokens) 12 tokens (ends) drawn in each epoch What jaxlm data prepare "
        "did for web<b>. count of read 2,000 documents dropped: near duplicate 700 documents quarantined: not utf8 2 "
        "records scrubbed: email 5 places kept 1,200 documents"
    )


def test_each_source_has_a_line_and_counting_that_began_late_is_said():
    sources = {f"{name}_{i}": 100 * (i + 1) for name in ("rows", "tokens", "predicted", "padding") for i in (0, 1)}
    ledger = {**LEDGER, **sources, "epochs_0": 0.5, "epochs_1": 1.25, "since": 30}
    corpus = {"train": [{**ACCOUNT, "source": "web"}, {**ACCOUNT, "source": "books"}]}
    found = data_of(Page(render_report({"corpus": corpus}, [ledger], "run")))
    assert "Read up to step 400, counted since step 30." in found
    assert "web 100 100 100 100 50 % 0.50 books 200 200 200 200 50 % 1.25 all 3,000" in found


def test_an_unplanned_stop_holds_the_ledger_too():
    stopped = {**LEDGER, "kind": "event", "name": "stopped", "epochs": 2.0}
    assert "Read up to step 400." in data_of(Page(render_report({}, [stopped], "run")))


@pytest.mark.parametrize(
    "corpus",
    [
        None,
        [],
        {"train": 3, "validation": {}, "prepared": []},
        {"train": [3, {}], "prepared": {"web": {"dropped": 4}, "x": 3}},
        {
            "train": [{"source": HOSTILE, "skipped": {HOSTILE: HOSTILE}, "cut": HOSTILE}],
            "prepared": {HOSTILE: {"read": HOSTILE}},
        },
        {"train": [{"source": "x" * 10_000, "left_out": {"y" * 10_000: 1}}] * 5000},
    ],
)
@pytest.mark.parametrize("ledger", [{}, {"tokens": HOSTILE, "epochs": "x"}, {"padding": -1, "epochs": math.nan}])
def test_damaged_accounts_are_shown_as_far_as_they_go(corpus, ledger):
    text = render_report({"corpus": corpus}, [{"step": 1, "kind": "ledger", **ledger}], "run")
    assert "Read up to step 1." in data_of(Page(text))
    assert len(text) < 400_000
    assert "<img" not in text


def test_a_run_without_a_ledger_has_no_section():
    assert 'id="data"' not in render_report(EXPERIMENT, records(), "run")
