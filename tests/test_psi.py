"""PSI tables: zeros that mean nothing, coordinates, sites of exons."""

import gzip
import logging

import numpy as np
import pytest
from conftest import write_fasta
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libmeta import psi
from libmeta.errors import CUT_SHORT, MetaError
from libmeta.genome import Genome
from libmeta.introns import SITE_NAMES, unpack

HEADER = "Chromosome,Start,End,Strand,gene_id,gene_name,liver,brain,silent\n"


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", {"chr1": "ACGT" * 500, "chr2": "ACGT" * 100}))


def read(tmp_path, text, genome, **more):
    path = tmp_path / "psi.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return psi.read(path, genome, **more)


def by_site(found) -> dict:
    _, pos, strand, site = unpack(found.keys)
    keys = [(int(p), "+" if s > 0 else "-", SITE_NAMES[k]) for p, s, k in zip(pos, strand, site, strict=True)]
    return {k: i for i, k in enumerate(keys)}


def test_zero_is_missing_unless_the_gene_is_seen(tmp_path, genome, caplog):
    text = HEADER + (
        "chr1,101,200,+,G1,N,0.0,0.4,0\nchr1,301,400,+,G1,N,0.0,0.0,0\n"  # G1 is silent in liver, measured in brain
        "chr1,501,600,-,G2,N,1.0,0.0,0\nchr1,701,800,-,G2,N,0.5,,0\n"
    )
    with caplog.at_level(logging.INFO, "libmeta"):
        found = read(tmp_path, text, genome)
    assert "dropped: silent" in caplog.text
    assert found.tissues == ["liver", "brain"]
    np.testing.assert_array_equal(found.values, np.float32([[np.nan, 0.4], [np.nan, 0], [1, np.nan], [0.5, np.nan]]))
    assert (found.start[0], found.end[0]) == (100, 200)  # 1-based inclusive in the file


@pytest.mark.parametrize("turn", [lambda t: t, lambda t: t.replace(",", "\t"), lambda t: gzip.compress(t.encode())])
def test_csv_tsv_gzip_and_aliases(tmp_path, genome, turn):
    text = HEADER + "1,101,200,+,G1,N,0.2,0.4,0.1\n7,101,200,+,G1,N,0.2,0.4,0\n"
    found = read(tmp_path, turn(text), genome)
    assert (found.chrom.tolist(), found.start.tolist(), found.values.shape) == ([0], [100], (1, 3))


@pytest.mark.parametrize("strand", "+-")
def test_a_site_takes_the_best_exon_per_tissue(tmp_path, genome, strand):
    text = HEADER + f"chr1,101,200,{strand},G1,N,0.2,0.9,0\nchr1,101,250,{strand},G1,N,0.7,0.05,0\n"
    found = psi.site_psi(read(tmp_path, text, genome))
    at = by_site(found)
    left, right = ("acceptor", "donor") if strand == "+" else ("donor", "acceptor")
    assert set(at) == {(100, strand, left), (199, strand, right), (249, strand, right)}
    both, second = at[100, strand, left], at[249, strand, right]
    assert found.maximum[both] == pytest.approx(0.9)
    assert found.mean[both] == pytest.approx(0.8)
    assert found.variance[both] == pytest.approx(0.01)
    assert (found.breadth[both], found.breadth[second]) == (2, 1)
    assert found.tissues.to_pylist()[second] == ["liver"]
    assert found.measured[second] == 2


def test_not_measured_anywhere(tmp_path, genome):
    text = HEADER + "chr1,101,200,+,G1,N,0,0,0\nchr1,301,400,+,G2,N,0.5,0,0\n"
    found = psi.site_psi(read(tmp_path, text, genome))
    row = by_site(found)[100, "+", "acceptor"]
    assert found.measured[row] == 0
    assert np.isnan([found.maximum[row], found.mean[row], found.variance[row]]).all()


exon = st.tuples(
    st.integers(1, 50), st.integers(50, 60), st.sampled_from("+-"), st.sampled_from("ABC"),
    st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]), min_size=3, max_size=3),
)  # fmt: skip


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(exon, min_size=1, max_size=12))
def test_site_psi_equals_plain_python(tmp_path, genome, exons):
    text = HEADER + "".join(f"chr1,{s},{e},{d},{g},N,{','.join(map(str, v))}\n" for s, e, d, g, v in exons)
    found = psi.site_psi(read(tmp_path, text, genome))
    seen = {(g, t) for _, _, _, g, v in exons for t in range(3) if v[t] > 0}
    want: dict = {}
    for start, end, strand, gene, values in exons:
        ends = (
            [(start - 1, "acceptor"), (end - 1, "donor")]
            if strand == "+"
            else [(start - 1, "donor"), (end - 1, "acceptor")]
        )
        for pos, site in ends:
            for t in range(3):
                if values[t] > 0 or (gene, t) in seen:
                    best = want.setdefault((pos, strand, site), {})
                    best[t] = max(best.get(t, 0), values[t])
                else:
                    want.setdefault((pos, strand, site), {})
    at = by_site(found)
    assert set(at) == set(want)
    for site, row in at.items():
        values = list(want[site].values())
        assert found.measured[row] == len(values)
        assert found.breadth[row] == sum(v > 0.1 for v in values)
        if values:
            assert found.maximum[row] == max(values)
            assert found.mean[row] == pytest.approx(np.mean(values), abs=1e-6)
            assert found.variance[row] == pytest.approx(np.var(values), abs=1e-6)


def test_only_some_contigs(tmp_path, genome):
    text = HEADER + "chr1,101,200,+,G1,N,0.2,0.4,0.1\nchr2,11,20,+,G2,N,0.2,0.4,0.1\n"
    assert read(tmp_path, text, genome, only={"chr2"}).start.tolist() == [10]
    nothing = read(tmp_path, HEADER + "chr1,101,200,+,G1,N,0.2,0.4,0.1\n", genome, only={"chr2"})
    assert len(psi.site_psi(nothing).keys) == 0


ROW = "chr1,101,200,+,G1,N,0.2,0.4,0.1\n"
BAD = {
    "no column gene_id": HEADER.replace("gene_id", "x") + ROW,
    "no tissue columns": "Chromosome,Start,End,Strand,gene_id\nchr1,1,2,+,G\n",
    "malformed PSI table": HEADER + ROW + "chr1,101,200,+,G1\n",
    "0..1": HEADER + ROW + ROW.replace("0.2", "20"),
    "another build than": HEADER + ROW.replace("200", "2001"),
    "start is not between": HEADER + ROW.replace("101", "0"),
    "strand is not": HEADER + ROW.replace("+", "."),
    "no contig in common": HEADER + ROW.replace("chr1", "chr9"),
    "no exon": HEADER,
    "two columns of one name": HEADER.replace("brain", "liver") + ROW,
}


@pytest.mark.parametrize("says", BAD)
def test_bad_input(tmp_path, genome, says):
    with pytest.raises(MetaError) as error:
        read(tmp_path, BAD[says], genome)
    assert says in str(error.value)
    assert "psi.csv" in str(error.value)


def test_cut_gzip(tmp_path, genome):
    whole = gzip.compress((HEADER + ROW * 50).encode())
    with pytest.raises(MetaError, match="truncated or damaged gzip") as error:
        read(tmp_path, whole[:-12], genome)
    assert error.value.code == CUT_SHORT
