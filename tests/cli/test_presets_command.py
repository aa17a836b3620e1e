"""`jaxlm presets` lists what `--preset` takes, with published counts of parameters."""

import json

from jaxlm.models.presets import PRESETS


def test_names_are_found_by_a_part_of_them(jaxlm):
    code, output, errors = jaxlm("presets", "llama-3.2", "bert-tiny")
    assert (code, errors) == (0, "")
    head, *lines = [line.split() for line in output.splitlines()]
    assert [(line[0], line[-1]) for line in lines] == [
        ("bert-tiny", "4,433,468"),
        ("llama-3.2-1b", "1,235,814,400"),
        ("llama-3.2-3b", "3,212,749,824"),
    ]
    assert {len(line) for line in (head, *lines)} == {8}
    assert len({len(line) for line in output.splitlines()}) == 1


def test_json_has_a_line_for_each(jaxlm):
    _, output, _ = jaxlm("presets", "gpt2", "--json")
    found = [json.loads(line) for line in output.splitlines()]
    assert [one["name"] for one in found] == ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]
    assert found[0] == {
        **{"name": "gpt2", "architecture": "decoder", "layers": 12, "width": 768, "heads": 12},
        **{"vocabulary": 50257, "context": 1024, "parameters": 124_439_808},
    }


def test_without_words_every_name_would_be_listed(jaxlm, monkeypatch):
    monkeypatch.setattr("jaxlm.models.counts.count_params", lambda model: 1)
    _, output, _ = jaxlm("presets")
    assert [line.split()[0] for line in output.splitlines()[1:]] == list(PRESETS)


def test_a_word_of_no_name_is_an_error(refused):
    assert refused("presets", "claude") == "no preset has claude in its name; jaxlm presets lists all"
