"""Arrow and Parquet in and out: the end mark, atomic files, provenance."""

import io
import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc

from libmeta import streams
from libmeta.errors import CUT_SHORT, MetaError

SCHEMA = pa.schema([("pos", pa.int64()), ("x", pa.float32())])


def batch(n, at=0):
    return pa.RecordBatch.from_arrays(
        [pa.array(range(at, at + n), pa.int64()), pa.array(np.ones(n, "f4"))], schema=SCHEMA
    )


def write(path, sizes):
    meta = streams.metadata("features", 1, streams.step("ms-test", ["a"], {}))
    with streams.Writer(path, SCHEMA.with_metadata(meta)) as out:
        for n in sizes:
            out.write(batch(n))
    return path


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
@pytest.mark.parametrize("sizes", [[], [3], [1, 0, 5]])
def test_round_trip(tmp_path, ending, sizes):
    stream = streams.open_table(write(tmp_path / f"t.{ending}", sizes))
    assert stream.expect("features").provenance[0]["tool"] == "ms-test"
    assert stream.table().num_rows == sum(sizes)


@given(cut=st.floats(0.02, 0.9999))
def test_cut_stream_is_noticed(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "t.arrow"
    raw = write(path, [50, 50, 50]).read_bytes()
    path.write_bytes(raw[: int(len(raw) * cut)])
    try:
        rows = streams.open_table(path).table().num_rows
    except MetaError as error:
        assert error.code == CUT_SHORT
    else:  # only the stream's own closing bytes were lost: the end mark stands before them
        assert rows == 150
        assert len(raw) * (1 - cut) < 10


def test_stream_without_end_mark_is_cut_short(tmp_path):
    path = tmp_path / "t.arrow"
    with open(path, "wb") as handle, ipc.new_stream(handle, SCHEMA) as writer:
        writer.write_batch(batch(5))
    with pytest.raises(MetaError, match="no end mark after 5 rows") as error:
        streams.open_table(path).table()
    assert error.value.code == CUT_SHORT


def test_wrong_count_in_end_mark(tmp_path):
    path = tmp_path / "t.arrow"
    with open(path, "wb") as handle, ipc.new_stream(handle, SCHEMA) as writer:
        writer.write_batch(batch(5))
        writer.write_batch(batch(0), custom_metadata={streams.END_MARK: b"6"})
    with pytest.raises(MetaError, match="5 rows where the end mark says 6"):
        streams.open_table(path).table()


def test_truncated_parquet(tmp_path):
    path = write(tmp_path / "t.parquet", [100])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MetaError, match="cut short") as error:
        streams.open_table(path)
    assert error.value.code == CUT_SHORT


def test_empty_input(tmp_path):
    (tmp_path / "t.arrow").touch()
    with pytest.raises(MetaError, match="empty file"):
        streams.open_table(tmp_path / "t.arrow")


def test_failed_writer_leaves_nothing(tmp_path):
    for ending in ("arrow", "parquet"):
        with pytest.raises(RuntimeError), streams.Writer(tmp_path / f"t.{ending}", SCHEMA) as out:
            out.write(batch(5))
            raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_atomic_keeps_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "t"
    path.write_text("old")
    with pytest.raises(RuntimeError), streams.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with streams.atomic(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["t"]


def test_same_input_same_bytes(tmp_path):
    a, b = (write(tmp_path / f"{n}.arrow", [3]).read_bytes() for n in "ab")
    assert a == b


def test_provenance_chain_names_each_step_once(tmp_path):
    (tmp_path / "in").write_text("x")
    first = streams.step("ms-a", [], {"in": tmp_path / "in"})
    joined = streams.step("ms-c", [], {}, (streams.step("ms-b", [], {}, (first,)), first))
    assert [s["tool"] for s in joined] == ["ms-a", "ms-b", "ms-c"]
    assert joined[0]["inputs"]["in"].startswith("sha256:")


def test_not_a_table(tmp_path):
    (tmp_path / "t").write_text("chr1\t1\t2\n")
    with pytest.raises(MetaError, match="neither Arrow nor Parquet"):
        streams.open_table(tmp_path / "t")
    with pytest.raises(MetaError, match="no such file"):
        streams.open_table(tmp_path / "absent")
    with pytest.raises(MetaError, match="a folder"):
        streams.open_table(tmp_path)


def test_input_kind_of_standard_input():
    handle = io.BufferedReader(io.BytesIO(b"chr1\t0\t5\n"))
    assert streams.input_kind(handle, "-") == "text"
    assert handle.read(4) == b"chr1"
