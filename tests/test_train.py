"""ms-train and ms-predict for position models: what is learned, refused, split, saved; the floor; pipes that break."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import toy_features
from conftest import bare_config, tool
from sklearn.metrics import average_precision_score

from libmeta import split, streams, train
from libmeta.check import check_file
from libmeta.checkpoint import from_file, probabilities
from libmeta.errors import MetaError
from libmeta.tracks import BigWig

SPLIT = ("--threads", "1", "--valid", "chr1:600,001-800,000", "--test", "chr1:800,001-1,000,000")


@pytest.fixture
def toy(run, tmp_path):
    toy_features.write(tmp_path / "f.parquet", toy_features.table(junction=False))
    return run


def macro(rows, donor, acceptor):
    return np.mean([average_precision_score(rows["label.site"] == k, s) for k, s in ((0, donor), (1, acceptor))])


def held_out(scores="s.parquet", features="f.parquet"):
    rows = {k: np.array(v) for k, v in pq.read_table(features).to_pydict().items()}
    s = {k: np.array(v, float) for k, v in pq.read_table(scores).to_pydict().items() if k not in ("chrom", "strand")}
    test = rows["pos"] >= 800_000
    return {k: v[test] for k, v in rows.items()}, {k: v[test] for k, v in s.items()}


def test_evidence_lifts_average_precision_on_unseen_positions(toy):
    toy("ms-train", "f.parquet", "--recipe", "m1-p", *SPLIT, "-o", "m.ubj")
    toy("ms-predict", "-m", "m.ubj", "f.parquet", "-o", "s.parquet")
    rows, s = held_out()
    base, refined = macro(rows, s["base_donor"], s["base_acceptor"]), macro(rows, s["donor"], s["acceptor"])
    assert refined > base + 0.02
    assert s["donor"] + s["acceptor"] + s["neither"] == pytest.approx(1, abs=1e-5)
    check_file(Path("m.ubj"))
    check_file(Path("s.parquet"))


def test_without_signal_the_model_is_not_below_the_base(run, tmp_path):
    rows = toy_features.table(junction=False, signal=False)
    toy_features.write(tmp_path / "f.parquet", rows)
    run("ms-train", "f.parquet", "--recipe", "m1-p", *SPLIT, "-o", "m.ubj")
    run("ms-predict", "-m", "m.ubj", "f.parquet", "-o", "s.parquet")
    rows, s = held_out()
    base, refined = macro(rows, s["base_donor"], s["base_acceptor"]), macro(rows, s["donor"], s["acceptor"])
    assert refined > base - 0.01


def test_no_trees_is_exactly_the_base(toy):
    toy("ms-train", "f.parquet", "--recipe", "m1-p", *SPLIT, "-o", "m.ubj")
    model = from_file("m.ubj")
    model.trees, model.temperature = 0, 1.0
    base = np.array([[0.2, 0.3], [0.9, 0.05], [0.001, 0.9]], np.float32)
    p = probabilities(model, np.full((3, len(model.columns)), np.nan, np.float32), base)
    assert p[:, :2] == pytest.approx(base, abs=1e-6)


def test_same_seed_same_bytes_and_standard_output(toy, shell):
    args = f"f.parquet --recipe m1-p --rounds 5 --valid {SPLIT[3]}"
    shell(f"ms-train {args} > a.ubj; ms-train {args} > b.ubj")
    assert Path("a.ubj").read_bytes() == Path("b.ubj").read_bytes()
    assert from_file("a.ubj").recipe == "m1-p"


def test_model_stands_alone(toy):
    toy("ms-train", "f.parquet", "--recipe", "m1-p", *SPLIT, "-o", "m.ubj")
    model = from_file("m.ubj")
    assert model.columns == ["base_scores.donor_score", "base_scores.acceptor_score", "conservation.phylop_score"]
    assert model.split["valid"] == [["chr1", 600_000, 800_000]]
    assert model.base_models[0]["name"] == "toy"
    assert [s["tool"] for s in model.provenance] == ["ms-features", "ms-train"]
    assert 0.2 <= model.temperature <= 5


def test_feature_of_the_targets_modality_is_refused(run, tmp_path):
    toy_features.write(tmp_path / "f.parquet", toy_features.table())
    run("ms-train", "f.parquet", "--target", "junction", "-o", "m.ubj", code=1, says="the label in disguise")
    done = run("ms-train", "f.parquet", "--recipe", "m1-p", "--rounds", "2", *SPLIT, "-o", "m.ubj")
    assert b"does not use the features of junction" in done.stderr
    assert "junction.junction_log1p" not in from_file("m.ubj").columns


def test_lone_feature_that_tells_all_is_called_out(run, tmp_path):
    rows = toy_features.table(junction=False)
    site = np.array(rows["label.site"])
    at = rows.schema.get_field_index("conservation.phylop_score")
    rows = rows.set_column(
        at, rows.schema.field(at), [np.where(site == 0, 2.0, np.where(site == 1, 1, 0)).astype("f4")]
    )
    toy_features.write(tmp_path / "f.parquet", rows)
    done = run("ms-train", "f.parquet", "--recipe", "m1-p", "--rounds", "2", *SPLIT, "-o", "m.ubj")
    assert b"label in disguise" in done.stderr


def test_psi_target(toy):
    toy("ms-train", "f.parquet", "--target", "psi", "--reference", "1", *SPLIT, "-o", "m.ubj")
    toy("ms-predict", "-m", "m.ubj", "f.parquet", "-o", "s.parquet")
    rows, s = held_out()
    donors = rows["label.site"] == 0
    psi = rows["label.psi"][donors].astype(float)
    assert np.corrcoef(psi, s["donor"][donors])[0, 1] > 0.5
    assert s["donor"][rows["label.site"] == 2].mean() < 0.05


def test_start_from_the_prior_without_base_scores(run, tmp_path):
    toy_features.write(tmp_path / "f.parquet", toy_features.table(junction=False, base=False))
    run("ms-train", "f.parquet", "--recipe", "m1-p", *SPLIT, "-o", "m.ubj")
    run("ms-predict", "-m", "m.ubj", "f.parquet", "-o", "s.parquet")
    model = from_file("m.ubj")
    assert model.start == "prior"
    model.trees, model.temperature = 0, 1.0
    p = probabilities(model, np.full((1, 1), np.nan, np.float32), None)
    assert p[0, :2] == pytest.approx([0.01, 0.01], abs=0.004)
    s = pq.read_table("s.parquet")
    assert s["base_donor"].null_count == s.num_rows


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--valid", "chr9"), 1, "0 validation rows"),
        (("--train", "chr1:1-5000", "--valid", "chr1:4000-9000"), 2, "overlap"),
        (("--split", "nonsense"), 2, "unknown split"),
        (("--split", "spliceai", "--test", "chr1"), 2, "beside --train"),
        (("--valid", "chr1:9-2"), 2, "start must be"),
    ],
)
def test_bad_splits(toy, args, code, says):
    toy("ms-train", "f.parquet", "--recipe", "m1-p", *args, "-o", "m.ubj", code=code, says=says)
    assert not Path("m.ubj").exists()


def test_bad_models_and_features(toy, tmp_path):
    (tmp_path / "text.ubj").write_text("hello")
    toy("ms-predict", "-m", "text.ubj", "f.parquet", "-o", "s.parquet", code=1, says="not an xgboost model")
    toy("ms-train", "f.parquet", "--recipe", "m1-p", "--rounds", "2", *SPLIT, "-o", "m.ubj")
    (tmp_path / "cut.ubj").write_bytes(Path("m.ubj").read_bytes()[:-100])
    toy("ms-predict", "-m", "cut.ubj", "f.parquet", "-o", "s.parquet", code=1, says="cut.ubj")
    import xgboost

    booster = xgboost.train({}, xgboost.DMatrix(np.zeros((4, 1)), np.arange(4)), 1)
    (tmp_path / "other.ubj").write_bytes(bytes(booster.save_raw("ubj")))
    toy("ms-predict", "-m", "other.ubj", "f.parquet", "-o", "s.parquet", code=1, says="not one of ms-train")
    lacking = toy_features.table(n=100).drop_columns(["conservation.phylop_score"])
    toy_features.write(tmp_path / "few.parquet", lacking)
    toy(
        "ms-predict",
        "-m",
        "m.ubj",
        "few.parquet",
        "-o",
        "s.parquet",
        code=1,
        says="no column conservation.phylop_score",
    )
    none = toy_features.table(n=1).slice(0, 0)
    toy_features.write(tmp_path / "none.parquet", none)
    toy("ms-predict", "-m", "m.ubj", "none.parquet", "-o", "s.parquet", code=3, says="no rows to score")
    unlabelled = toy_features.table(n=100).select([n for n in lacking.schema.names if not n.startswith("label.")])
    toy_features.write(tmp_path / "bare.parquet", unlabelled)
    toy("ms-train", "bare.parquet", "--recipe", "m1-p", "-o", "x.ubj", code=1, says="no labels")


def test_features_cut_short_leave_no_model(toy, tmp_path):
    path = toy_features.write(tmp_path / "f.arrow", toy_features.table())
    path.write_bytes(path.read_bytes()[:-200])
    toy("ms-train", "f.arrow", "--recipe", "m1-p", "-o", "m.ubj", code=4, says="cut short")
    toy(
        "ms-train",
        "--recipe",
        "m1-p",
        "-o",
        "m.ubj",
        stdin=path.read_bytes(),
        code=4,
        says="the command before it failed",
    )
    toy("ms-train", "--recipe", "m1-p", "-o", "m.ubj", stdin=b"", code=4, says="the command before it failed")
    assert not Path("m.ubj").exists()


def test_killed_writer_makes_the_pipe_fail(tmp_path):
    """ms-features killed in the middle: ms-train ends with 4 and leaves no model."""
    (tmp_path / "r.bed").write_text("chr15\t48000000\t50500000\n")
    source = subprocess.Popen(
        [*tool("ms-features"), "r.bed", "--config", str(bare_config(tmp_path)), "--modalities", "annotation,genomic,sequence",
         "--background", "1"],
        stdout=subprocess.PIPE, cwd=tmp_path, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    trainer = subprocess.Popen(
        [*tool("ms-train"), "--target", "annotation", "-o", "m.ubj"], stdin=source.stdout, cwd=tmp_path,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    source.stdout.close()
    time.sleep(4)
    assert source.poll() is None, "the writer ended before it could be killed"
    os.kill(source.pid, signal.SIGKILL)
    told = trainer.communicate(timeout=100)[1]
    source.wait()
    assert trainer.returncode == 4, told
    assert "the command before it failed" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["piece.toml", "r.bed"]


def test_predictions_as_bed_and_tracks(toy, tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\n" + "\n".join(["A" * 100] * 10_000) + "\n")
    toy("ms-train", "f.parquet", "--recipe", "m1-p", *SPLIT, "-o", "m.ubj")
    toy("ms-predict", "-m", "m.ubj", "f.parquet", "-o", "s.parquet", "--tracks", "t", "--genome", "g.fa")
    toy("ms-predict", "-m", "m.ubj", "f.parquet", "-o", "s.bed", "--min-score", "0.5")
    s = pq.read_table("s.parquet")
    from libmeta.genome import Genome

    contigs = Genome("g.fa").contigs
    for prefix, name in (("t", "donor"), ("t", "acceptor"), ("t.base", "donor")):
        column = s["base_donor" if "base" in prefix else name].to_numpy()
        back = BigWig(f"{prefix}.{name}.plus.bw", contigs).values("chr1", 0, 1_000_000)
        assert np.flatnonzero(np.isfinite(back)).tolist() == s["pos"].to_pylist()
        assert back[s["pos"].to_numpy()] == pytest.approx(column, abs=1e-6)
        check_file(Path(f"{prefix}.{name}.plus.bw"))
    assert "t.base.donor.plus.bw" in Path("t.igv.xml").read_text()
    assert json.loads(Path("t.json").read_text())["model"]["recipe"] == "m1-p"
    lines = [x.split("\t") for x in Path("s.bed").read_text().splitlines() if not x.startswith("#")]
    both = (s["donor"].to_numpy() >= 0.5).sum() + (s["acceptor"].to_numpy() >= 0.5).sum()
    assert len(lines) == both
    assert all(int(x[2]) == int(x[1]) + 1 and float(x[6]) >= 0.5 for x in lines)


def test_split_default_holds_out_blocks():
    parts = split.Split()
    pos = np.arange(0, 30_000_000, 1000)
    part = parts.assign("chr7", pos)
    assert 0.1 < (part == split.VALID).mean() < 0.3
    assert (parts.assign("7", pos) == part).all()
    blocks = part.reshape(-1, 100)
    assert (blocks == blocks[:, :1]).all()
    named = split.parse("held-out", (), (), ())
    assert named.assign("chr1", pos[:3]).tolist() == [split.TEST] * 3
    assert named.assign("chr9", pos[:3]).tolist() == [split.VALID] * 3
    assert named.assign("chr2", pos[:3]).tolist() == [split.UNUSED] * 3


def test_memory_stays_flat_with_the_stream(tmp_path):
    """Rows beyond the quantised matrix stay on disk: 16 times the rows, far less than 16 times the memory."""
    code = (
        "import sys, resource; from pathlib import Path; import numpy as np; from libmeta.spool import Spool\n"
        "s = Spool(Path(sys.argv[1]), 100, 1, 3); x = np.zeros((20000, 100), 'f4')\n"
        "y = np.zeros((20000, 1)); m = np.zeros((20000, 3))\n"
        "for _ in range(int(sys.argv[2])): s.append(x, y, m, np.ones(20000))\n"
        "n = sum(len(p[0]) for p in s.pieces()); s.close(); print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peak = {}
    for times in (2, 32):
        out = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "rows"), str(times)], capture_output=True, text=True, check=True
        )
        rows, peak[times] = map(int, out.stdout.split())
        assert rows == 20_000 * times
    assert peak[32] < peak[2] + 150_000  # kilobytes; the rows themselves are 250 MB more


def test_macro_ap_equals_scikit_learn():
    rng = np.random.default_rng(3)
    kind, p, w = rng.integers(0, 3, 4000), rng.dirichlet([1, 1, 1], 4000), rng.random(4000)
    expected = np.mean([average_precision_score(kind == k, p[:, k], sample_weight=w) for k in (0, 1)])
    assert train.macro_ap(kind[:, None], w, p) == pytest.approx(expected, abs=1e-4)


def test_recipe_never_uses_its_own_evidence():
    from libmeta import recipes

    for name in recipes.names():
        recipe = recipes.get(name)
        assert recipe.name == name
        assert recipe.evidence not in recipe.uses
    with pytest.raises(MetaError, match="unknown recipe"):
        recipes.get("m0")
    assert streams.fingerprint(__file__).startswith("sha256:")
