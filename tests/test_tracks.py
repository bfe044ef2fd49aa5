"""bigWigs as IGV wants them: header order, zooms, 0..1, no NaN, nothing beyond the contig; and read back as written."""

import json
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libmeta.check import check_file
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.igv import session
from libmeta.tracks import BigWig, BigWigWriter, ScoreTracks, ScoreWriter

CONTIGS = Contigs({"chr2": 50_000, "chr10": 3_000_000, "chr1": 900}, "g.fa")
ABOUT = {"format": "base_scores", "version": 1, "provenance": [{"tool": "t"}]}


def scores(n, seed=1):
    return np.random.default_rng(seed).random(n).astype(np.float32)


def test_round_trip_header_and_zooms(tmp_path):
    a, b = scores(2_500_000), scores(900, 2)
    a[1000:2000] = np.nan
    with ScoreWriter(tmp_path / "p", CONTIGS, ABOUT) as out:
        out.dense("chr10", 400_000, "+", a, a[::-1])
        out.dense("chr1", 0, "+", b, b)
    raw = pyBigWig.open(str(tmp_path / "p.donor.plus.bw"))
    assert list(raw.chroms().items()) == list(CONTIGS.lengths.items())
    assert raw.header()["nLevels"] >= 4
    assert raw.header()["nBasesCovered"] == 2_500_000 - 1000 + 900
    tracks = ScoreTracks(tmp_path / "p", CONTIGS)
    donor, acceptor = tracks.read("chr10", 400_000, 2_900_000, "+")
    assert np.array_equal(donor, a, equal_nan=True)
    assert np.array_equal(acceptor, a[::-1], equal_nan=True)
    assert np.array_equal(tracks.read("chr1", -5, 905, "+")[0][5:905], b)
    assert np.isnan(tracks.read("chr1", -5, 905, "+")[0][[0, 4, 905, 909]]).all()
    assert np.isnan(tracks.read("chr10", 400_000, 400_100, "-")[0]).all()
    for path in tmp_path.glob("p.*"):
        check_file(path)
    zoomed = raw.stats("chr10", 1_000_000, 2_000_000, type="mean", exact=False)[0]
    assert zoomed == pytest.approx(a[600_000:1_600_000].mean(), rel=1e-3)


@settings(max_examples=20)
@given(st.sets(st.integers(0, 899), min_size=1, max_size=60))
def test_sparse_positions(tmp_path_factory, positions):
    path = tmp_path_factory.mktemp("s") / "x.bw"
    pos = np.array(sorted(positions))
    value = scores(len(pos))
    out = BigWigWriter(path, CONTIGS)
    out.sparse("chr1", pos, value)
    out.close()
    back = BigWig(path, CONTIGS).values("chr1", 0, 900)
    assert np.flatnonzero(np.isfinite(back)).tolist() == pos.tolist()
    assert np.array_equal(back[pos], value)


def test_out_of_order_is_refused(tmp_path):
    with pytest.raises(ValueError, match="out of order"), ScoreWriter(tmp_path / "p", CONTIGS, ABOUT) as out:
        out.dense("chr10", 100, "+", scores(5), scores(5))
        out.dense("chr2", 100, "+", scores(5), scores(5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 3, 63, 80, 0.3, 0.7, -4, -1])
def test_truncated(tmp_path, keep):
    """The reader in C crashes the process on some of these: they must be refused before it sees them."""
    with ScoreWriter(tmp_path / "p", CONTIGS, ABOUT) as out:
        out.dense("chr10", 0, "+", scores(100_000), scores(100_000))
    raw = (tmp_path / "p.donor.plus.bw").read_bytes()
    cut = raw[: int(len(raw) * keep)] if isinstance(keep, float) else raw[:keep]
    (tmp_path / "cut.bw").write_bytes(cut)
    with pytest.raises(MetaError, match="bigWig"):
        BigWig(tmp_path / "cut.bw", CONTIGS)


def test_value_outside_the_range_is_found(tmp_path):
    out = BigWigWriter(tmp_path / "x.bw", CONTIGS)
    out.dense("chr1", 0, np.array([0.5, 1.5], np.float32))
    out.close()
    with pytest.raises(MetaError, match=r"outside 0\.\.1"):
        check_file(tmp_path / "x.bw")


def test_igv_session_names_files_relative_to_itself(tmp_path):
    text = session(
        tmp_path / "s.xml",
        str(tmp_path / "g.fa"),
        {"": {"base": f"{tmp_path}/b", "refined": f"{tmp_path}/r"}, "liver": {"refined": f"{tmp_path}/l"}},
        "c:1-9",
    )
    assert str(tmp_path) not in text
    for name in ("b.donor.plus.bw", "r.acceptor.minus.bw", "liver donor +", "l.donor.plus.bw", 'genome="g.fa"'):
        assert name in text


def test_description_is_beside(tmp_path):
    with ScoreWriter(tmp_path / "p", CONTIGS, ABOUT):
        pass
    assert json.loads((tmp_path / "p.json").read_text()) == ABOUT


PHYLOP = Path(__file__).parents[2] / "shared" / "data" / "conservation" / "FBN1.phyloP.hg38.bw"


@pytest.mark.skipif(not PHYLOP.exists(), reason="the real phyloP track of FBN1 is not here")
def test_real_phylop_lies_on_the_same_base(run):
    """Splice dinucleotides are conserved: shifted by one base, their mean falls."""
    from conftest import DATA

    from libmeta.genome import Genome
    from libmeta.sites import build

    genome = Genome(DATA / "chr15.fa.gz")
    found = build(genome, [{"name": "all", "gtf": DATA / "spliceai.grch38.txt", "tag": None}], genes={"FBN1"}).table
    track = BigWig(PHYLOP, genome.contigs).values("chr15", 48_400_000, 48_650_000)
    donors = found.filter(np.array(found["site"].to_pylist()) == "donor")["pos"].to_numpy() - 48_400_000
    beside = [np.nanmean(track[donors - shift]) for shift in range(-2, 5)]  # minus strand: GT lies at -1 and -2
    assert int(np.argmax(np.convolve(beside, [1, 1], "valid"))) == 3
    assert np.mean([beside[3], beside[4]]) == pytest.approx(7.5, abs=0.4)
