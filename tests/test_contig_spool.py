"""Junction files and PSI tables are parsed once for all contigs, and each contig comes out as if it alone had been read."""

import numpy as np
import pytest
from evidence_case import LENGTHS, World

from libmeta import junctions, lines, psi
from libmeta.errors import MetaError
from libmeta.junctions import JunctionSpool, load


@pytest.fixture
def files(tmp_path):
    world = World(tmp_path)
    found = {}
    for tissue in ("liver", "brain", "lung"):
        lines = [
            f"{c}\t{a}\t{a + int(world.rng.integers(20, 90))}\t{1 + a % 2}\t1\t{a % 2}\t{world.rng.integers(9)}\t0\t30\n"
            for c in (("c2", "c1") if tissue == "lung" else ("c1",))
            for a in range(50, 1500, 37)
        ]
        (tmp_path / f"{tissue}.SJ.out.tab").write_text("".join(lines))
        found[tissue] = tmp_path / f"{tissue}.SJ.out.tab"
    return world.genome, found


@pytest.fixture
def loaded(monkeypatch):
    """Files parsed so far; random introns have no splice dinucleotides, so the build is not judged here."""
    seen = []

    def parse(files, genome):
        seen.extend(files)
        return load(files, genome, min_fit=0)

    monkeypatch.setattr(junctions, "load", parse)
    return seen


def test_contigs_as_read_alone(files, loaded):
    genome, named = files
    spool = JunctionSpool(named, genome)
    assert loaded == []
    for chrom in (*LENGTHS, "c1"):
        alone = load(named, genome, only={chrom}, min_fit=0)
        assert spool.table(chrom).equals(alone)
    assert loaded == ["liver", "brain", "lung"]  # once each
    assert spool.table("c2").num_rows
    assert spool.table("c3").num_rows == 0


def test_faults_are_those_of_the_reader(files, tmp_path):
    genome, named = files
    with pytest.raises(MetaError, match="have splice dinucleotides"):
        JunctionSpool(named, genome).table("c1")
    (tmp_path / "lung.SJ.out.tab").unlink()
    with pytest.raises(MetaError, match=r"no such|lung"):
        JunctionSpool({"lung": named["lung"]}, genome).table("c1")


def test_psi_of_contigs_as_read_alone(files, tmp_path, monkeypatch):
    genome, _ = files
    rng = np.random.default_rng(2)
    rows = [
        f"{c},{a},{a + 40},{'+-'[a % 2]},g{a // 200},{','.join(f'{v:.3f}' for v in np.maximum(rng.normal(size=3), 0) / 9)}\n"
        for a in range(1, 800, 61)
        for c in ("c2", "zz", "c1")
    ]
    path = tmp_path / "psi.csv"
    path.write_text("Chromosome,Start,End,Strand,gene_id,A,B,C\n" + "".join(rows))
    opened = []
    monkeypatch.setattr(psi, "reading", lambda where: opened.append(where) or lines.reading(where))
    spool = psi.PsiSpool(path, genome)
    for chrom in (*LENGTHS, "c1"):
        found, alone = spool.read(chrom), psi.read(path, genome, only={chrom})
        for name in ("chrom", "start", "end", "strand", "gene", "values"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
        assert found.tissues == alone.tissues
    assert len(opened) == 1 + 4
    assert len(spool.read("c2").start) == 14
    path.write_text("Chromosome,Start,End,Strand,gene_id,A\n")
    with pytest.raises(MetaError, match="no exon"):
        psi.PsiSpool(path, genome).read("c1")
    path.write_text("Chromosome,Start,End,Strand,gene_id,A\nzz,1,2,+,g,1\n")
    with pytest.raises(MetaError, match="no contig in common"):
        psi.PsiSpool(path, genome).read("c1")
