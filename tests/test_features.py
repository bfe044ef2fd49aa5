"""ms-features: a synthetic genome whose tracks encode positions, both strands, batches, labels, modalities."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
import pytest
from conftest import bare_config, random_sequence, write_fasta

from libmeta import features, modalities, schema, streams
from libmeta.check import check_file
from libmeta.contigs import Contigs
from libmeta.features import NEAR, near
from libmeta.modalities import base_scores
from libmeta.modalities.conservation import REACH
from libmeta.regions import Region
from libmeta.sampling import Sampling
from libmeta.tracks import ScoreWriter

LENGTH = 3000
GTF = """c1\tx\texon\t{0}\t{1}\t.\t{4}\t.\tgene_id "{5}"; transcript_id "{5}t";
c1\tx\texon\t{2}\t{3}\t.\t{4}\t.\tgene_id "{5}"; transcript_id "{5}t";
"""


@pytest.fixture
def world(run, tmp_path):
    """c1 of 3 kb with a gene on each strand, base scores and tracks that encode the position, ms.toml."""
    text = list(random_sequence(LENGTH))
    for at, pair in ((300, "GT"), (498, "AG"), (2300, "CT"), (2498, "AC")):
        text[at : at + 2] = pair
    write_fasta(tmp_path / "g.fa", {"c1": "".join(text), "c2": random_sequence(500, 2)})
    # plus gene: exons 201-300, 501-600; minus gene: exons 2201-2300, 2501-2600 (1-based)
    (tmp_path / "a.gtf").write_text(
        GTF.format(201, 300, 501, 600, "+", "P") + GTF.format(2201, 2300, 2501, 2600, "-", "M")
    )
    contigs = Contigs({"c1": LENGTH, "c2": 500}, "g.fa")
    x = np.arange(LENGTH) / 10_000
    with ScoreWriter(
        tmp_path / "base",
        contigs,
        {"format": "base_scores", "version": 1, "provenance": [{"tool": "ms-basescore"}]},
    ) as out:
        out.dense("c1", 0, "+", x.astype("f4"), (x / 2).astype("f4"))
        out.dense("c1", 0, "-", (x / 3).astype("f4"), (x / 4).astype("f4"))
    track = pyBigWig.open(str(tmp_path / "p.bw"), "w")
    track.addHeader([("c1", LENGTH)])
    track.addEntries("c1", 100, values=np.arange(100, 2000).astype(float), span=1, step=1)
    track.close()
    (tmp_path / "ms.toml").write_text(
        '[genome]\nfasta = "g.fa"\n[annotation]\ntiers = [{name = "all", gtf = "a.gtf"}]\n[base_scores.toy]\nprefix = "base"\n'
        '[modalities.conservation]\nphylop = "p.bw"\n'
    )
    (tmp_path / "r.bed").write_text("c1\t0\t3000\n")
    return run


def table(path="f.parquet"):
    check_file(Path(path))
    return {k: np.array(v) for k, v in pq.read_table(path).to_pydict().items()}


def test_every_value_stands_at_its_own_base(world):
    world("ms-features", "r.bed", "--modalities", "all-but-junction", "--background", "1", "-o", "f.parquet")
    rows = table()
    assert len(rows["pos"]) == 2 * LENGTH
    assert (rows["weight"] == 1).all()
    for strand, by in (("+", 1), ("-", 3)):
        here = rows["strand"] == strand
        pos = rows["pos"][here]
        assert pos.tolist() == list(range(LENGTH))
        assert rows["base_scores.donor_score"][here].astype(float) == pytest.approx(pos / 10_000 / by, abs=1e-6)
        inside = (pos >= 2) & (pos < LENGTH - 2)
        m1 = rows["base_scores.context_score_m1"][here][inside].astype(float)
        step = -1 if strand == "+" else 1
        assert m1 == pytest.approx((pos[inside] + step) / 10_000 / by, abs=1e-6)
        phylop = rows["conservation.phylop_score"][here]
        assert [v is None for v in phylop] == [not 100 <= p < 2000 for p in pos]
        known = slice(100, 2000)
        assert phylop[known].astype(float).tolist() == pos[known].tolist()
        middle = slice(100 + REACH, 2000 - REACH)
        assert rows["conservation.phylop_context_mean"][here][middle].astype(float) == pytest.approx(
            pos[middle], rel=1e-5
        )
        assert (
            rows["conservation.phylop_context_max"][here][middle].astype(float).tolist()
            == (pos[middle] + REACH).tolist()
        )
        std = np.std(np.arange(2 * REACH + 1))
        assert rows["conservation.phylop_context_std"][here][middle].astype(float) == pytest.approx(std, rel=1e-4)
        edge = rows["conservation.phylop_context_mean"][here][95]
        assert float(edge) == pytest.approx(np.mean(np.arange(100, 106)))
    assert all(v is None for v in rows["conservation.phastcons_score"])


def test_regions_near_each_other_are_read_as_one(world, tmp_path):
    world("ms-features", "r.bed", "--background", "1", "-o", "whole.parquet")
    spans = [(0, 40, "."), (60, 61, "+"), (62, 80, "-"), (290, 510, "."), (2990, 3000, "-")]
    (tmp_path / "some.bed").write_text("".join(f"c1\t{a}\t{b}\tx\t0\t{s}\n" for a, b, s in spans))
    world("ms-features", "some.bed", "--background", "1", "-o", "some.parquet")
    whole, some = pq.read_table("whole.parquet"), pq.read_table("some.parquet")
    wanted = [
        any(a <= p < b and s in (".", strand) for a, b, s in spans)
        for p, strand in zip(whole["pos"].to_pylist(), whole["strand"].to_pylist(), strict=True)
    ]
    whole = whole.filter(wanted)
    assert whole.num_rows == some.num_rows == 2 * 40 + 1 + 18 + 2 * 220 + 10
    for name in whole.schema.names:
        found, told = some[name].to_pylist(), whole[name].to_pylist()
        if name.startswith(("conservation.", "genomic.")):
            found, told = (np.array(v, float) for v in (found, told))
            np.testing.assert_allclose(found, told, rtol=1e-5, atol=1e-4, err_msg=name)
        else:
            assert found == told, name


def test_runs_of_regions():
    def region(start, end, strand="+"):
        return Region("c1", start, end, strand)

    a, b, c, d = region(0, 10), region(20, 30), region(31 + NEAR, 40 + NEAR), region(0, 10, "-")
    e = region(30 + NEAR, 40 + NEAR)
    assert near([a, d, b, c]) == [[d], [a, b], [c]]
    assert near([a, d, b, e]) == [[d], [a, b, e]]
    assert near([a, d]) == [[a], [d]]


def test_sites_genes_and_orientation(world):
    world(
        "ms-features",
        "r.bed",
        "--modalities",
        "annotation,genomic,sequence",
        "--background",
        "1",
        "-o",
        "f.parquet",
    )
    rows = table()
    sites = {
        (int(p), s): (int(k), t)
        for p, s, k, t in zip(
            rows["pos"], rows["strand"], rows["label.site"], rows["annotation.splice_type"], strict=True
        )
        if k < 2
    }
    assert sites == {
        (299, "+"): (0, "donor"), (500, "+"): (1, "acceptor"), (2500, "-"): (0, "donor"), (2299, "-"): (1, "acceptor"),
    }  # fmt: skip
    letters = rows["sequence.sequence"]
    for at, strand, after, before in (
        (299, "+", "GT", None),
        (500, "+", None, "AG"),
        (2500, "-", "GT", None),
        (2299, "-", None, "AG"),
    ):
        text = letters[(rows["pos"] == at) & (rows["strand"] == strand)][0]
        assert len(text) == 501
        if after:
            assert text[251:253] == after
        if before:
            assert text[248:250] == before
    for strand, first, last in (("+", 200, 599), ("-", 2599, 2200)):
        here = rows["strand"] == strand
        start = rows["genomic.distance_to_gene_start"][here]
        relative = rows["genomic.relative_gene_position"][here]
        assert (start[first], start[last]) == (0, 399)
        assert (relative[first], relative[last]) == (0, 1)
        assert sum(v is not None for v in start) == 400
    gc = rows["genomic.gc_content"][(rows["pos"] == 1000) & (rows["strand"] == "+")][0]
    text = letters[(rows["pos"] == 1000) & (rows["strand"] == "+")][0][200:301]
    assert gc == pytest.approx(sum(c in "GC" for c in text) / 101)


def test_batches_regions_and_seeds(world, tmp_path):
    args = ("--modalities", "all-but-junction", "--background", "0.2")
    world("ms-features", "r.bed", *args, "-o", "a.parquet")
    world("ms-features", "r.bed", *args, "-o", "b.parquet", "--batch-size", "7")
    assert pq.read_table("a.parquet").equals(pq.read_table("b.parquet"))
    world("ms-features", "r.bed", *args, "-o", "c.parquet", "--seed", "2")
    assert not pq.read_table("a.parquet").equals(pq.read_table("c.parquet"))
    Path("halves.bed").write_text("c1\t0\t1234\nc1\t1234\t3000\n")
    world("ms-features", "halves.bed", *args, "-o", "d.parquet")
    assert pq.read_table("a.parquet").equals(pq.read_table("d.parquet"))
    world("ms-features", "r.bed", *args, "-o", "e.arrow")
    assert streams.open_table(tmp_path / "e.arrow").table().equals(pq.read_table("a.parquet"))


@pytest.mark.parametrize("rows", [1 << 15, 10])
def test_stretches_shrink_where_many_positions_are_drawn(world, monkeypatch, rows):
    """And change no row."""
    args = ("r.bed", "--modalities", "all-but-junction", "--background", "0.2")
    world("ms-features", *args, "-o", "a.parquet")
    whole = features.stretch(Sampling())
    monkeypatch.setattr(features, "STRETCH", 512)
    monkeypatch.setattr(features, "STRETCH_ROWS", rows)
    assert features.stretch(Sampling(background=1.0)) == (64 if rows == 10 else 512)
    world("ms-features", *args, "-o", "b.parquet")
    assert pq.read_table("a.parquet").equals(pq.read_table("b.parquet"))
    assert whole == 1 << 18


def test_expected_rows_of_a_stretch_are_bounded():
    for background in (0.001, 0.01, 0.1, 0.5, 1.0):
        for sampling in (Sampling(background=background), Sampling(background=background, dinucleotide=1.0)):
            assert 2 * features.stretch(sampling) * sampling.share() <= 2 * features.STRETCH_ROWS
    assert Sampling(min_score=0).share() == 1
    assert features.stretch(Sampling(min_score=0)) == features.STRETCH // 8


def test_sites_on_standard_input_bring_regions_and_labels(world, shell):
    shell(
        "ms-labels a.gtf --genome g.fa --recipe m1 | ms-features - --modalities base_scores --background 1 -o f.parquet"
    )
    rows = table()
    assert len(rows["pos"]) == 800
    assert set(rows["label.class"][rows["label.site"] < 2].tolist()) == {0, 1}
    assert (rows["label.weight"] == 1).all()
    steps = [s["tool"] for s in streams.open_table("f.parquet").provenance]
    assert steps == ["ms-labels", "ms-basescore", "ms-features"]


def test_modalities_named_left_out_and_missing(world):
    world(
        "ms-features",
        "r.bed",
        "--modalities",
        "junction",
        "-o",
        "x.arrow",
        code=1,
        says="no junction evidence",
    )
    world(
        "ms-features",
        "r.bed",
        "--modalities",
        "all-but-nonsense",
        "-o",
        "x.arrow",
        code=2,
        says="unknown modality",
    )
    done = world("ms-features", "r.bed", "--modalities", "all", "-o", "x.parquet")
    absent = [
        n for n in modalities.names() if n not in ("annotation", "base_scores", "conservation", "genomic", "sequence")
    ]
    assert f"left out: {', '.join(absent)}".encode() in done.stderr
    form = pq.read_schema("x.parquet")
    assert streams.read_metadata(form)["modalities"]["absent"] == absent
    names = {schema.modality(f) for f in form if schema.role(f) == "feature"}
    assert names == {"base_scores", "conservation", "genomic"}
    assert {f.name for f in form if schema.modality(f) == "base_scores"} == {
        c.name for c in modalities.columns("base_scores")
    }


def test_two_base_models_side_by_side(world):
    text = (
        Path("ms.toml")
        .read_text()
        .replace("[modalities.cons", '[base_scores.other]\nprefix = "base"\n[modalities.cons')
    )
    Path("ms.toml").write_text(text)
    world("ms-features", "r.bed", "--modalities", "base_scores", "-o", "f.parquet")
    rows = table()
    assert len([k for k in rows if k.startswith("base_scores.")]) == 2 * len(base_scores.COLUMNS)
    assert (rows["base_scores.donor_score"] == rows["base_scores.other.donor_score"]).all()


def test_bad_tracks(world):
    text = Path("ms.toml").read_text()
    Path("ms.toml").write_text(text.replace('"p.bw"', '"absent.bw"'))
    world("ms-features", "r.bed", "-o", "x.arrow", code=1, says="no such file absent.bw")
    Path("broken.bw").write_bytes(Path("p.bw").read_bytes()[:80])
    Path("ms.toml").write_text(text.replace('"p.bw"', '"broken.bw"'))
    world("ms-features", "r.bed", "-o", "x.arrow", code=1, says="broken.bw")
    for contig, length, says in (
        ("c1", LENGTH + 1, "likely another build"),
        ("zz", 10, "no contig in common"),
    ):
        track = pyBigWig.open("other.bw", "w")
        track.addHeader([(contig, length)])
        track.addEntries(contig, 1, values=[1.0], span=1, step=1)
        track.close()
        Path("ms.toml").write_text(text.replace('"p.bw"', '"other.bw"'))
        world("ms-features", "r.bed", "-o", "x.arrow", code=1, says=says)
    Path("ms.toml").write_text(text.replace('prefix = "base"', 'prefix = "nowhere"'))
    world("ms-features", "r.bed", "-o", "x.arrow", code=1, says="no base scores")
    assert not Path("x.arrow").exists()


def test_contig_without_data_is_missing_not_zero(world):
    Path("r2.bed").write_text("c2\t100\t200\n")
    world("ms-features", "r2.bed", "--modalities", "all-but-junction", "--background", "1", "-o", "f.parquet")
    rows = table()
    assert all(v is None for v in rows["conservation.phylop_score"])
    assert all(v is None for v in rows["base_scores.donor_score"])
    assert all(v is None for v in rows["genomic.distance_to_gene_start"])


def test_real_piece_sites_have_their_dinucleotides(run, tmp_path):
    config = bare_config(tmp_path)
    run("ms-labels", "--config", config, "--genes-bed", "g.bed", "-o", "s.parquet")
    run(
        "ms-features",
        "g.bed",
        "--config",
        config,
        "--modalities",
        "sequence,annotation",
        "-o",
        "f.parquet",
    )
    rows = table()
    text, kind = rows["sequence.sequence"], rows["label.site"]
    donors = [t[251:253] for t in text[kind == 0]]
    acceptors = [t[248:250] for t in text[kind == 1]]
    assert len(donors) > 300
    assert np.mean([d in ("GT", "GC", "AT") for d in donors]) > 0.98
    assert np.mean([a in ("AG", "AC") for a in acceptors]) > 0.98
    assert rows["weight"].sum() == pytest.approx(1_965_768, rel=0.02)
