"""Files are whole or not there."""

import json
import os

import pytest

from simulation.atomic import replacing, write_json


def test_content_is_replaced(tmp_path):
    path = tmp_path / "a.json"
    for content in ({"a": 1}, {"b": [2.5]}):
        write_json(path, content)
        assert json.loads(path.read_text(encoding="utf-8")) == content
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("fails", ["fsync", "replace", "content"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, fails):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    if fails != "content":
        monkeypatch.setattr(os, fails, full)
    error = TypeError if fails == "content" else OSError
    with pytest.raises(error):
        write_json(path, {"b": print} if fails == "content" else {"b": 2})
    assert path.read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nothing_shows_before_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as unfinished:
        unfinished.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
