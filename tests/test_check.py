"""The checker finds what schemas/ promise and a file breaks."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import toy_features

from libmeta import schema, streams
from libmeta.check import check_file
from libmeta.errors import MetaError


def scores(**change) -> pa.Table:
    form = schema.load("scores").arrow
    columns = {
        "chrom": ["chr2", "chr2", "chr10"], "pos": [5, 9, 1], "strand": ["+", "-", "+"], "weight": [1.0, 2.0, 1.0],
        "donor": [0.1, 0.2, 0.3], "acceptor": [0.1, 0.2, 0.3], "neither": [0.8, 0.6, 0.4],
        "base_donor": [0.1, None, 0.3], "base_acceptor": [0.1, None, 0.3],
    }  # fmt: skip
    columns |= change
    meta = streams.metadata("scores", 1, [{"tool": "t"}])
    return pa.table([pa.array(columns[f.name], f.type) for f in form], schema=form.with_metadata(meta))


def test_good_files_pass(tmp_path):
    for ending in ("parquet", "arrow"):
        path = toy_features.write(tmp_path / f"s.{ending}", scores())
        assert check_file(path) == "scores version 1, 3 rows, 9 columns"
    features = toy_features.write(tmp_path / "f.parquet", toy_features.table(100))
    assert "features version 1, 100 rows" in check_file(features)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pos": [9, 5, 1]}, "out of order"),
        ({"pos": [5, 5, 1], "strand": ["+", "+", "+"]}, "twice"),
        ({"chrom": ["chr2", "chr10", "chr2"]}, "in two places"),
        ({"strand": ["+", "*", "+"]}, "'\\*' in strand"),
        ({"donor": [0.1, 1.2, 0.3]}, "its most is 1"),
        ({"weight": [1.0, -2.0, 1.0]}, "its least is 0"),
        ({"donor": [0.1, float("nan"), 0.3]}, "NaN in donor"),
        ({"donor": [0.1, float("inf"), 0.3]}, "infinite"),
    ],
)
def test_broken_rows_are_found(tmp_path, change, says):
    path = toy_features.write(tmp_path / "s.parquet", scores(**change))
    with pytest.raises(MetaError, match=says):
        check_file(path)


def test_broken_schemas_are_found(tmp_path):
    good = scores()
    cases = {
        "no column weight": good.drop_columns(["weight"]),
        "unknown column x": good.append_column("x", [np.zeros(3)]),
        "column pos is int32": good.set_column(1, "pos", good["pos"].cast(pa.int32())),
        "no provenance": good.replace_schema_metadata(streams.metadata("scores", 1, [])),
        "version 9": good.replace_schema_metadata(streams.metadata("scores", 9, [{"tool": "t"}])),
        "no table format": good.replace_schema_metadata({}),
    }
    for i, (says, table) in enumerate(cases.items()):
        path = toy_features.write(tmp_path / f"{i}.parquet", table)
        with pytest.raises(MetaError, match=says):
            check_file(path)


def test_command_line(tmp_path):
    good = toy_features.write(tmp_path / "s.parquet", scores())
    (tmp_path / "m.json").write_text(json.dumps({"format": "metrics"}))
    done = subprocess.run(
        [sys.executable, "-m", "libmeta.schema", good, tmp_path / "m.json", tmp_path / "absent"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "s.parquet: ok" in done.stdout
    assert "m.json: error: no key" in done.stderr
    assert "absent: error: no such file" in done.stderr


def test_every_format_and_modality_is_documented():
    text = schema.readme()
    for name in schema.names():
        form = schema.load(name)
        assert f"## {name} " in text
        assert form.doc
        assert all(c.doc for c in form.columns)
    from libmeta import modalities

    expected = {"base_scores": 43, "annotation": 3, "sequence": 3, "genomic": 4, "conservation": 9, "junction": 12}
    expected |= {
        "epigenetic": 12,
        "chrom_access": 12,
        "rbp_eclip": 8,
        "rbp_motif": 8,
        "fm_embeddings": 8,
        "exon_prob": 1,
    }
    assert {n: len(modalities.get(n).COLUMNS) for n in modalities.names()} == expected
