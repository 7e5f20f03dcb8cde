"""The recorder: types, row groups, and files that can be read whatever was written."""

import datetime as dt
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simulation.recorder import TABLES, Recorder, schema

NOON = dt.datetime(2016, 6, 1, 12, tzinfo=dt.UTC)
AT = {"step": 12, "time": NOON}


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path)


def costs(step, *components):
    amounts = np.arange(len(components), dtype=float)
    return {
        **AT,
        "step": step,
        "network": "west",
        "component": [*components],
        "amount_eur": amounts,
    }


def test_rows_come_back(recorder, tmp_path):
    recorder.write("costs", costs(12, "losses", "imbalance"))
    recorder.merge()
    table = pq.read_table(tmp_path / "costs.parquet")
    assert table.schema.equals(schema("costs"))
    assert table.to_pylist() == [
        {**AT, "network": "west", "component": "losses", "amount_eur": 0.0},
        {**AT, "network": "west", "component": "imbalance", "amount_eur": 1.0},
    ]


def test_single_values_stand_for_all_rows(recorder, tmp_path):
    recorder.write("costs", {**AT, "network": "a", "component": "losses", "amount_eur": 1.5})
    recorder.merge()
    assert pq.read_table(tmp_path / "costs.parquet").num_rows == 1


def test_empty_sequences_are_no_rows(recorder, tmp_path):
    recorder.write("costs", costs(12))
    recorder.merge()
    assert pq.read_table(tmp_path / "costs.parquet").num_rows == 0


def test_tables_without_rows_exist(recorder, tmp_path):
    recorder.merge()
    assert {path.stem for path in tmp_path.glob("*.parquet")} == set(TABLES)
    for name in TABLES:
        assert pq.read_schema(tmp_path / f"{name}.parquet").equals(schema(name))


def test_a_flush_is_a_row_group(recorder, tmp_path):
    for step in range(3):
        recorder.write("costs", costs(step, "losses", "imbalance"))
        recorder.write("costs", costs(step, "network_fees"))
        recorder.flush()
    recorder.flush()
    recorder.merge()
    file = pq.ParquetFile(tmp_path / "costs.parquet")
    assert file.num_row_groups == 3
    assert [file.read_row_group(k).num_rows for k in range(3)] == [3, 3, 3]
    assert file.read()["step"].to_pylist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_what_was_not_flushed_is_in_the_tables_too(recorder, tmp_path):
    recorder.write("costs", costs(0, "losses"))
    recorder.flush()
    recorder.write("costs", costs(1, "losses"))
    recorder.merge()
    recorder.merge()
    assert pq.read_table(tmp_path / "costs.parquet")["step"].to_pylist() == [0, 1]
    assert len(list((tmp_path / "parts").iterdir())) == 1


def test_going_on_drops_later_parts_and_half_written_files(recorder, tmp_path):
    for step in range(3):
        recorder.write("costs", costs(step, "losses"))
        recorder.flush()
    (tmp_path / "parts" / "00004.zip.part").write_bytes(b"half")
    (tmp_path / "costs.parquet.part").write_bytes(b"half")
    again = Recorder(tmp_path)
    again.resume(2)
    again.write("costs", costs(7, "imbalance"))
    again.flush()
    again.merge()
    assert pq.read_table(tmp_path / "costs.parquet")["step"].to_pylist() == [0, 1, 7]
    assert not list(tmp_path.rglob("*.part"))


def test_going_on_without_a_part_is_refused(recorder, tmp_path):
    recorder.write("costs", costs(0, "losses"))
    recorder.flush()
    with pytest.raises(FileNotFoundError, match=r"00002\.zip is missing"):
        Recorder(tmp_path).resume(2)


def test_a_day_that_cannot_be_written_is_still_pending(recorder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    recorder.write("costs", costs(0, "losses"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            recorder.flush()
    assert not list((tmp_path / "parts").iterdir())
    recorder.flush()
    recorder.merge()
    assert pq.read_table(tmp_path / "costs.parquet").num_rows == 1


def test_types():
    form = schema("clearing")
    assert form.field("time").type == pa.timestamp("ms", tz="UTC")
    assert form.field("step").type == form.field("n_iterations").type == pa.int32()
    assert form.field("network").type == pa.string()
    assert form.field("binding").type == pa.bool_()
    assert form.field("slack_pu").type == pa.float64()


@pytest.mark.parametrize(
    "columns",
    [
        {"step": 1, "time": NOON, "network": "a", "component": "losses"},
        {**AT, "network": 5, "component": ["losses"], "amount_eur": [1.0]},
        {**AT, "network": "a", "component": ["losses", "wear"], "amount_eur": [1.0]},
    ],
    ids=["missing column", "wrong type", "unequal lengths"],
)
def test_wrong_rows_are_noticed(recorder, columns):
    with pytest.raises((KeyError, pa.ArrowInvalid, pa.ArrowTypeError, ValueError)):
        recorder.write("costs", columns)


def test_unknown_tables_are_noticed(recorder):
    with pytest.raises(KeyError, match="weather"):
        recorder.write("weather", AT)
