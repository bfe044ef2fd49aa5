"""The site table against plain Python; tiers, genes, regions, evidence."""

import annotation_case as case
import junction_case as jc
import numpy as np
import pytest
from annotation_case import LENGTH, Transcript
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_annotation import transcripts
from test_junctions import junction_table, support_oracle

from libmeta import config, labels, schema, sites
from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.junctions import load
from libmeta.regions import Region


def tier(path, name=None, tag=None):
    return {"name": name or tag or path.name, "gtf": path, "tag": tag}


def keyed(found) -> dict:
    rows = found.table.to_pylist()
    return {(r["chrom"], r["pos"], r["strand"], r["site"]): r for r in rows}


@pytest.fixture
def three(tmp_path):
    """A genome and one GTF of the three genes."""
    made = case.three_genes()
    return case.genome_of(tmp_path, made), case.write(tmp_path / "a.gtf", case.gtf(made))


def test_tiers_of_one_file_by_tag(three):
    genome, path = three
    found = sites.build(genome, [tier(path, tag="MANE Select"), tier(path, tag="basic"), tier(path, "all")])
    rows = keyed(found)
    assert set(rows) == case.oracle(case.three_genes())
    assert rows["chr1", 199, "+", "donor"]["tier"] == 0  # T1 (MANE) and T2
    assert rows["chr1", 620, "+", "acceptor"]["tier"] == 1  # T2 only
    assert rows["chr1", 1210, "-", "donor"]["tier"] == 2  # T4 only
    assert rows["chr1", 199, "+", "donor"]["transcripts"] == ["T1", "T2"]
    assert rows["chr1", 199, "+", "donor"]["genes"] == ["G1"]
    assert found.tiers == ["MANE Select", "basic", "all"]
    assert [g.row[:6] for g in found.genes] == [
        ["chr1", 100, 700, "+", "G1", False],
        ["chr1", 1000, 2000, "-", "G2", False],
    ]
    assert found.table.schema.equals(schema.load("sites").arrow)


def test_only_tagged_transcripts_count(three):
    genome, path = three
    found = sites.build(genome, [tier(path, tag="MANE_Select")])
    assert set(keyed(found)) == case.oracle([t for t in case.three_genes() if "MANE_Select" in t.tags])


def test_a_file_is_parsed_once(three, monkeypatch):
    genome, path = three
    calls = []
    read = sites.annotation_tiers.annotation.read
    monkeypatch.setattr(sites.annotation_tiers.annotation, "read", lambda *a: calls.append(a) or read(*a))
    sites.build(genome, [tier(path, tag="MANE_Select"), tier(path, tag="basic"), tier(path)])
    assert len(calls) == 1


def test_sources_of_different_kinds_share_genes(tmp_path):
    """The same gene as NAME in a table, ENSG.1 in one release and ENSG.2 in another is one gene."""
    made = [Transcript("A.1", "ENSG0001.1", "+", ((100, 200), (300, 400)))]
    other = [
        Transcript("A.2", "ENSG0001.2", "+", ((100, 200), (320, 400), (500, 600))),
        Transcript("B", "ENSG0002.1", "+", ((5000, 5100), (5200, 5300))),
    ]
    genome = case.genome_of(tmp_path, made + other)
    table = case.write(tmp_path / "t.txt", case.gene_table([case.replace(made[0], name="NENSG0001.1")]))
    old = case.write(tmp_path / "old.gff3", case.gff3(made))
    new = case.write(tmp_path / "new.gtf", case.gtf(other))
    found = sites.build(genome, [tier(table), tier(old), tier(new)])
    assert [g.row[:6] for g in found.genes] == [
        ["chr1", 100, 600, "+", "NENSG0001.1", False],
        ["chr1", 5000, 5300, "+", "ENSG0002.1", False],
    ]
    assert keyed(found)["chr1", 500, "+", "acceptor"]["genes"] == ["NENSG0001.1"]
    assert keyed(found)["chr1", 300, "+", "acceptor"]["transcripts"] == ["A.1", "NENSG0001.1"]


def test_unknown_tag(tmp_path, caplog):
    made = [case.replace(t, name=f"{t.name}.{i}", gene=f"{t.gene}.{i}") for t in case.three_genes() for i in range(60)]
    genome = case.genome_of(tmp_path, made)
    path = case.write(tmp_path / "a.gtf", case.gtf(made))
    with pytest.raises(MetaError, match=r"no transcript with tag 'MANE', .*a.gtf; its tags are MANE_Select, basic"):
        sites.build(genome, [tier(path, tag="MANE"), tier(path)])
    few = case.write(tmp_path / "b.gtf", case.gtf(case.three_genes()))
    sites.build(genome, [tier(few, tag="MANE"), tier(few)])
    assert "tier MANE is empty" in caplog.text


def test_wrong_build_and_too_many_tiers(tmp_path):
    made = case.many_genes()
    genome = case.genome_of(tmp_path, made)
    off = [case.replace(t, exons=tuple((s + 2, e + 2) for s, e in t.exons)) for t in made]
    path = case.write(tmp_path / "a.gtf", case.gtf(off))
    with pytest.raises(MetaError, match=r"on strand \+ have a splice dinucleotide.*another build"):
        sites.build(genome, [tier(path)])
    assert sites.build(genome, [tier(path)], min_dinucleotide=0).table.num_rows == 120
    with pytest.raises(MetaError, match="one to three"):
        sites.build(genome, [tier(path)] * 4)


def test_regions_and_genes(three):
    genome, path = three
    whole = keyed(sites.build(genome, [tier(path)]))
    cut = sites.build(genome, [tier(path)], regions=[Region("chr1", 300, 1100)])
    # the exon that the region cuts keeps its sites: transcripts are read whole
    assert keyed(cut) == {k: v for k, v in whole.items() if 300 <= k[1] < 1100}
    assert [g.row[:5] for g in cut.genes] == [["chr1", 300, 700, "+", "G1"], ["chr1", 1000, 1100, "-", "G2"]]
    stranded = sites.build(genome, [tier(path)], regions=[Region("chr1", 0, LENGTH, "-")])
    assert keyed(stranded) == {k: v for k, v in whole.items() if k[2] == "-"}
    assert [g.gene for g in stranded.genes] == ["G2"]
    overlapping = [Region("chr1", 0, 500), Region("chr1", 300, 1100)]
    assert [g.row[1:3] for g in sites.build(genome, [tier(path)], regions=overlapping).genes] == [
        [100, 700],
        [1000, 1100],
    ]
    for name in ("G1", "NG1"):
        one = sites.build(genome, [tier(path)], genes={name})
        assert keyed(one) == {k: v for k, v in whole.items() if k[2] == "+"}
        assert [g.gene for g in one.genes] == ["G1"]
    with pytest.raises(MetaError, match="gene G9 is not in the annotation"):
        sites.build(genome, [tier(path)], genes={"G9", "G1"})


# ---- evidence -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transcripts(), st.data())
def test_evidence_equals_plain_python(tmp_path, made, data):
    """Random transcripts, and random introns among their exon ends: every column by hand."""
    genome = Genome(case.write_fasta(tmp_path / "g.fa", {"chr1": "ACGT" * (LENGTH // 4)}))
    path = case.write(tmp_path / "a.gtf", case.gtf(made))
    ends = sorted({p for t in made for e in t.exons for p in e} | {50, 9000})
    intron = st.tuples(st.sampled_from(ends), st.sampled_from(ends), st.sampled_from("+-"), st.sampled_from("ba"))
    chosen = data.draw(st.sets(intron.filter(lambda i: i[0] < i[1]), min_size=1, max_size=12))
    rows = [("chr1", *i, data.draw(st.integers(1, 6)), None, None) for i in sorted(chosen)]
    found = sites.build(genome, [tier(path)], junction_table(rows), min_dinucleotide=0)
    annotated, support = case.oracle(made), support_oracle(rows, sorted({r[4] for r in rows}), 3)
    got = keyed(found)
    assert set(got) == annotated | set(support)
    order = [(r["pos"], r["strand"], r["site"]) for r in found.table.to_pylist()]
    assert order == sorted(order)
    spans = {}
    for t in made:
        span = spans.setdefault((t.gene, t.strand), [LENGTH, 0])
        span[:] = min(span[0], *(s for s, _ in t.exons)), max(span[1], *(e for _, e in t.exons))
    measured = {
        (gene, strand): sum(r[5] for r in rows if r[3] == strand and start <= r[1] and r[2] <= end) >= 3
        for (gene, strand), (start, end) in spans.items()
    }
    assert {(g.gene, g.strand, g.start, g.end, g.measured) for g in found.genes} == {
        (gene, strand, *span, measured[gene, strand]) for (gene, strand), span in spans.items()
    }
    for (key, row), flag in zip(got.items(), found.measured, strict=True):
        _, pos, strand, _ = key
        owners = [t for t in made if key in case.oracle([t])]
        genes = {t.gene for t in owners} or {g for (g, s), (a, b) in spans.items() if s == strand and a <= pos < b}
        assert row["transcripts"] == sorted({t.name for t in owners})
        assert row["genes"] == sorted(genes)
        assert row["tier"] == (0 if owners else 3)
        seen = support.get(key)
        covered = seen is not None or any(measured[g, strand] for g in genes)
        assert flag == covered
        assert row["reads"] == (seen["reads"] if seen else 0 if covered else None)
        assert row["partners"] == (seen["partners"] if seen else 0 if covered else None)
        assert row["tissues"] == (seen["tissues"] if seen else [] if covered else None)
        assert row["breadth"] == (len(row["tissues"]) if covered else None)
        want = seen["psi_max"] if seen else None
        assert row["psi_max"] == (pytest.approx(want, abs=1e-6) if want is not None else None)


def psi_text(rows, header="liver,brain,silent") -> str:
    lines = [f"chr1,{s + 1},{e},{strand},{gene},N,{values}" for s, e, strand, gene, values in rows]
    return "\n".join([f"Chromosome,Start,End,Strand,gene_id,gene_name,{header}", *lines]) + "\n"


def test_psi_gives_evidence_to_known_sites(tmp_path, three):
    genome, path = three
    table = case.write(
        tmp_path / "psi.csv",
        psi_text([
            (300, 400, "+", "G1", "0.9,0.0,0"), (600, 700, "+", "G1", "1.0,0.2,0"), (1200, 1350, "-", "G2", "0,0,0"),
        ]),
    )  # fmt: skip
    found = sites.build(genome, [tier(path)], psi=table)
    rows = keyed(found)
    assert set(rows) == case.oracle(case.three_genes())  # the end of the last exon, 699, is no site
    inner = rows["chr1", 300, "+", "acceptor"]
    assert (inner["psi_max"], inner["psi_mean"]) == (pytest.approx(0.9), pytest.approx(0.45))
    assert (inner["tissues"], inner["breadth"], inner["reads"]) == (["liver"], 1, None)
    assert rows["chr1", 600, "+", "acceptor"]["tissues"] == ["brain", "liver"]
    unmeasured = rows["chr1", 1349, "-", "acceptor"]
    assert (unmeasured["psi_max"], unmeasured["tissues"], unmeasured["breadth"]) == (None, None, None)
    assert [(g.gene, g.measured) for g in found.genes] == [("G1", True), ("G2", False)]


def test_psi_candidates(tmp_path):
    """Only what looks like a site, lies in a gene and is no transcript's end becomes a novel site."""
    made = case.three_genes()
    hidden = Transcript("H", "G1", "+", ((100, 200), (450, 500), (600, 700)))
    sequence = case.plant([*made, hidden])["chr1"]
    sequence = sequence[:1998] + "AG" + sequence[2000:2100] + "GT" + sequence[2102:]
    sequence = sequence[:98] + "AG" + sequence[100:]
    genome = Genome(case.write_fasta(tmp_path / "h.fa", {"chr1": sequence}))
    path = case.write(tmp_path / "a.gtf", case.gtf(made))
    table = case.write(tmp_path / "psi.csv", psi_text([
        (450, 500, "+", "G1", "0.4,0,0"), (100, 200, "+", "G1", "1,1,0"), (2000, 2100, "+", "G1", "1,1,0"),
    ]))  # fmt: skip
    novel = [k for k, r in keyed(sites.build(genome, [tier(path)], psi=table)).items() if r["tier"] == 3]
    assert novel == [("chr1", 450, "+", "acceptor"), ("chr1", 499, "+", "donor")]
    none = sites.build(genome, [tier(path)], psi=table, novel_psi=False)
    assert set(keyed(none)) == case.oracle(made)


def test_reads_and_psi_together(tmp_path, three):
    genome, path = three
    reads = case.write(tmp_path / "liver.bed", jc.bed6([jc.Junction(200, 300, "+", 7)]))
    table = case.write(tmp_path / "psi.csv", psi_text([(300, 400, "+", "G1", "0,0.9,0")]))
    rows = keyed(sites.build(genome, [tier(path)], {"liver": reads}, table))
    both = rows["chr1", 300, "+", "acceptor"]
    assert (both["reads"], both["tissues"], both["breadth"]) == (7, ["brain", "liver"], 2)
    assert both["psi_max"] == pytest.approx(0.9)  # the table's own PSI; elsewhere that of the reads
    assert rows["chr1", 199, "+", "donor"]["psi_max"] == 1
    assert rows["chr1", 600, "+", "acceptor"]["reads"] == 0


def test_minus_strand_mirrors_plus(tmp_path):
    made = case.many_genes(16)
    out = []
    for name, turned in (("a", made), ("b", case.mirror(made))):
        folder = tmp_path / name
        folder.mkdir()
        genome = case.genome_of(folder, turned)
        path = case.write(folder / "a.gtf", case.gtf(turned))
        which = 0 if name == "a" else -1
        reads = [jc.Junction(*t.introns[which], t.strand, 4) for t in turned]
        reads = case.write(folder / "x.bed", jc.bed6(reads))
        out.append(keyed(sites.build(genome, [tier(path)], {"x": reads})))
    flip = {"+": "-", "-": "+"}
    plain, turned = ({k: {**r, "pos": 0, "strand": 0} for k, r in rows.items()} for rows in out)
    assert {(c, LENGTH - 1 - p, flip[s], k): r for (c, p, s, k), r in turned.items()} == plain


def test_config(tmp_path, three):
    genome, _ = three
    (tmp_path / "liver.bed").write_text(jc.bed6([jc.Junction(200, 300, "+", 7)]))
    (tmp_path / "ms.toml").write_text(
        '[annotation]\ntiers = [{name = "M", gtf = "a.gtf", tag = "MANE_Select"}, {name = "all", gtf = "a.gtf"}]\n'
        '[modalities.junction]\nfiles = {liver = "liver.bed"}\n'
    )
    found = sites.from_config(config.load(str(tmp_path / "ms.toml")), genome, [Region("chr1", 0, 1000)])
    assert keyed(found)["chr1", 300, "+", "acceptor"]["reads"] == 7
    assert found.junction_annotated == (2, 2)
    with pytest.raises(MetaError, match="no annotation tiers"):
        sites.from_config(config.Config(), genome)


def test_labels_of_a_table(tmp_path, three):
    genome, path = three
    reads = load([("x", case.write(tmp_path / "x.bed", jc.bed6([jc.Junction(200, 620, "+", 7)])))], genome)
    found = sites.build(genome, [tier(path, tag="MANE_Select"), tier(path)], reads)
    done = found.labelled(*labels.m3(found.facts(), (0,)))
    rows = keyed(done)
    by_weight = {k: r["label"] for k, r in rows.items() if r["weight"] > 0}
    assert by_weight == {("chr1", 620, "+", "acceptor"): 1}  # G2 was not measured, the rest is MANE
    assert np.isnan(found.facts().reads).sum() == sum(k[2] == "-" for k in rows)


@pytest.mark.parametrize("shift", [0, 5])
def test_psi_of_another_build_is_refused(tmp_path, shift):
    made = case.many_genes()
    genome = case.genome_of(tmp_path, made)
    path = case.write(tmp_path / "a.gtf", case.gtf(made))
    rows = [(s + shift, e + shift, t.strand, t.gene, "1,1,0") for t in made for s, e in t.exons]
    table = case.write(tmp_path / "psi.csv", psi_text(rows))
    if not shift:
        assert all(r["psi_max"] == 1 for r in keyed(sites.build(genome, [tier(path)], psi=table)).values())
        return
    with pytest.raises(MetaError, match=r"exon ends have a splice dinucleotide, .*psi.csv; likely another build"):
        sites.build(genome, [tier(path)], psi=table)
