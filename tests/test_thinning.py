"""Thinned junction evidence: how much is left, that it is the same every time, and what ms.toml may say."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import random_sequence, write_fasta
from dense_case import DenseWorld

from libmeta import features, psi, schema, streams, thinning
from libmeta.errors import MetaError
from libmeta.features import Window
from libmeta.genome import Genome
from libmeta.modalities import junction
from libmeta.psi import Psi

NAMES = ["c1", "c2"]


def junctions(n=4000, seed=1) -> pa.Table:
    """n introns of each of two contigs in a tissue; the second contig does not tell unique reads."""
    rng = np.random.default_rng(seed)
    reads = rng.integers(1, 30, 2 * n)
    columns = {
        "chrom": np.repeat(NAMES, n), "start": np.tile(np.arange(n), 2), "end": np.tile(np.arange(n) + 99, 2),
        "strand": ["+"] * 2 * n, "tissue": ["liver"] * 2 * n, "reads": reads,
        "unique_reads": pa.array(np.minimum(reads, 12), mask=np.arange(2 * n) >= n), "overhang": [None] * 2 * n,
        "annotated": [None] * 2 * n,
    }  # fmt: skip
    return pa.table({k: pa.array(v) for k, v in columns.items()}).cast(schema.load("junctions").arrow)


def test_reads_that_are_left():
    table = junctions()
    thin = thinning.reads(table, 0.1, 1)
    total, left = (np.sum(t["reads"].to_numpy()) for t in (table, thin))
    assert left / total == pytest.approx(0.1, abs=0.005)  # 120,000 reads: six standard deviations
    assert thin.schema == table.schema
    assert 0 < thin.num_rows < table.num_rows
    assert min(thin["reads"].to_pylist()) > 0
    told = thin["unique_reads"].is_valid().to_numpy()
    assert (told == (thin["chrom"].to_numpy(zero_copy_only=False) == "c1")).all()
    assert (thin["unique_reads"].to_numpy()[told] <= thin["reads"].to_numpy()[told]).all()
    expected = np.mean(0.9 ** table["reads"].to_numpy())  # none of its reads left
    assert 1 - thin.num_rows / table.num_rows == pytest.approx(expected, abs=0.02)


def test_the_same_reads_every_time_whatever_else_is_read():
    table = junctions()
    thin = thinning.reads(table, 0.3, 7)
    assert thinning.reads(table, 0.3, 7) == thin
    assert thinning.reads(table, 0.3, 8) != thin
    second = table.slice(4000)
    assert thinning.reads(second, 0.3, 7) == thin.filter(pc.equal(thin["chrom"], "c2"))
    assert thinning.reads(table, 1, 7) == table


def exons(n=3000) -> Psi:
    rng = np.random.default_rng(2)
    start = np.sort(rng.integers(0, 10**8, n))
    return Psi(
        "psi.csv", rng.integers(0, 2, n), start, start + rng.integers(30, 300, n), rng.choice([1, -1], n).astype(np.int8),
        np.array([f"G{i}" for i in range(n)], object), ["liver"], rng.random((n, 1)).astype(np.float32),
    )  # fmt: skip


def test_exons_that_are_left():
    table = exons()
    thin = thinning.exons(table, 0.1, 1, NAMES)
    assert len(thin.start) / len(table.start) == pytest.approx(0.1, abs=0.03)
    assert set(thin.gene) < set(table.gene)
    rows = np.isin(table.gene, thin.gene)
    assert (table.values[rows] == thin.values).all()
    part = Psi(table.where, *(getattr(table, k)[:900] for k in ("chrom", "start", "end", "strand", "gene")), ["liver"],
               table.values[:900])  # fmt: skip
    assert set(thinning.exons(part, 0.1, 1, NAMES).gene) == set(thin.gene) & set(part.gene)
    assert set(thinning.exons(table, 0.1, 2, NAMES).gene) != set(thin.gene)
    assert len(thinning.exons(table, 1, 1, NAMES).start) == len(table.start)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"keep": 0}, "keep 0 is not a share above 0 and up to 1"),
        ({"keep": 1.5}, "keep 1.5 is not a share"),
        ({"keep": True}, "keep True is not a share"),
        ({"keep": "10 %"}, "keep '10 %' is not a share"),
        ({"keep": 0.1, "keep_seed": -1}, "keep_seed -1 is not a whole number"),
        ({"keep_seed": 3}, "keep_seed without keep"),
    ],
)
def test_what_ms_toml_may_not_say(section, says):
    with pytest.raises(MetaError, match=says):
        thinning.settings(section, "[modalities.junction] in ms.toml")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return DenseWorld(tmp_path_factory.mktemp("thin"))


def test_channels_of_thinned_reads(world):
    """Less evidence, never more; whatever is left is what the thinned table says."""
    whole, thin = (
        _dense(world, {**world.sections["junction"], **more}) for more in ({}, {"keep": 0.5, "keep_seed": 3})
    )
    assert (thin["junction_log1p"] <= whole["junction_log1p"] + 1e-6).all()
    assert 0 < np.expm1(thin["junction_log1p"]).sum() < np.expm1(whole["junction_log1p"]).sum()
    every = _dense(world, {**world.sections["junction"], "keep": 1.0})
    assert (every["junction_log1p"] == whole["junction_log1p"]).all()


def _dense(world, section):
    sources = world.open(wanted=())
    reader = junction.Reader(sources, {**section, "files": {k: world.folder / v for k, v in section["files"].items()}})
    return reader.dense(Window(sources, "c1", 0, 3000, "+"))


def test_provenance_tells(run, world):
    lines = ["[modalities.junction]", 'files = {a = "t0.tsv", b = "t1.tsv"}', "keep = 0.5"]
    (world.folder / "ms.toml").write_text("\n".join(['[genome]\nfasta = "g.fa"', *lines]) + "\n")
    (world.folder / "r.bed").write_text("c1\t0\t900\tx\t0\t+\n")
    run("ms-features", world.folder / "r.bed", "--config", world.folder / "ms.toml", "--modalities", "junction",
        "--background", "1", "-o", "f.parquet")  # fmt: skip
    step = streams.open_table("f.parquet").provenance[-1]
    assert step["settings"] == {"junction.keep": 0.5, "junction.keep_seed": 1}
    assert features.settings({"x": SimpleNamespace()}) == {}


# ---- PSI of another build -------------------------------------------------------------------------------------------


def test_psi_table_of_another_build_is_refused(tmp_path):
    """By what stands beside its exons; there must be enough of them to tell."""
    text = random_sequence(60_000, 5)
    at = [i for i in range(300, 59_000) if text[i - 2 : i] == "AG"]
    spans = [(a, text.index("GT", a + 40)) for a in at[::12]]
    genome = Genome(write_fasta(tmp_path / "g.fa", {"c1": text}))

    def table(shift, n):
        start, end = (np.array(v[:n]) + shift for v in zip(*spans, strict=True))
        nothing = np.zeros(len(start), np.int64)
        return Psi(
            "psi.csv", nothing, start, end, nothing + 1, nothing.astype(str), ["liver"], np.ones((len(start), 1))
        )

    psi.check_build(table(0, 200), genome)
    with pytest.raises(MetaError, match=r"exon ends have a splice dinucleotide, psi.csv; likely another build"):
        psi.check_build(table(7, 200), genome)
    psi.check_build(table(7, 20), genome)


def test_psi_table_of_another_build_is_no_evidence_either(tmp_path, world):
    rng = np.random.default_rng(4)
    rows = sorted(int(s) for s in rng.integers(10, 3500, 300))
    text = "Chromosome,Start,End,Strand,gene_id,liver\n" + "".join(f"c1,{s},{s + 90},+,G,0.5\n" for s in rows)
    (tmp_path / "psi.csv").write_text(text)
    sources = world.open(wanted=())
    reader = junction.Reader(sources, {"psi": tmp_path / "psi.csv"})
    with pytest.raises(MetaError, match="likely another build"):
        reader.dense(Window(sources, "c1", 0, 900, "+"))
