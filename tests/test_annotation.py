"""Annotation readers: every dialect gives the same transcripts; sites by the rule; bad input told with its line."""

import gzip
import logging

import annotation_case as case
import numpy as np
import pytest
from annotation_case import LENGTH, Transcript
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libmeta import annotation, dinucleotides, tiers
from libmeta.contigs import Contigs
from libmeta.errors import CUT_SHORT, MetaError
from libmeta.introns import pack, unpack

CONTIGS = Contigs({"chr1": LENGTH, "chr2": 5000}, "genome.fa")


def read(tmp_path, text, contigs=CONTIGS, pack="plain", only=None):
    return annotation.read(case.write(tmp_path / "a.txt", text, pack), contigs, only)


def sites(found):
    return case.keys_as_set(np.unique(found.sites()[0]), list(CONTIGS.lengths))


def exons_of(found) -> dict:
    out = {}
    for t, s, e in zip(found.exon_transcript, found.exon_start, found.exon_end, strict=True):
        out.setdefault(found.transcript_id[t], []).append((int(s), int(e)))
    return out


WRITERS = [
    lambda t: case.gtf(t, "gencode"),
    lambda t: case.gtf(t, "ensembl", lambda c: c.removeprefix("chr")),
    lambda t: case.gtf(t, "ncbi", lambda c: f"NC_00000{c[3:]}.11"),
    lambda t: case.gff3(t, "ensembl", lambda c: c.removeprefix("chr")),
    lambda t: case.gff3(t, "gencode"),
    lambda t: case.gff3(t, "ncbi", lambda c: f"NC_00000{c[3:]}.11"),
]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("packing", ["plain", "gzip", "bgzip"])
def test_dialects_agree(tmp_path, writer, packing):
    transcripts = case.three_genes()
    found = read(tmp_path, writer(transcripts), pack=packing)
    assert exons_of(found) == {t.name: sorted(t.exons) for t in transcripts}
    assert sites(found) == case.oracle(transcripts)
    assert dict(zip(found.transcript_id, found.gene_id, strict=True)) == {t.name: t.gene for t in transcripts}
    assert set(found.gene_name) == {"NG1", "NG2"}
    assert list(found.has_tag("MANE Select")) == list(found.has_tag("MANE_Select")) == [True, False, True, False]
    assert list(found.has_tag("basic")) == [True, True, False, False]


def test_gene_table(tmp_path):
    transcripts = case.three_genes()
    found = read(tmp_path, case.gene_table(transcripts))
    assert exons_of(found) == {t.name: sorted(t.exons) for t in transcripts}
    assert sites(found) == case.oracle(transcripts)
    no_header = case.gene_table(transcripts).split("\n", 1)[1]
    assert sites(read(tmp_path, no_header)) == case.oracle(transcripts)


@st.composite
def transcripts(draw):
    out = []
    for i in range(draw(st.integers(1, 5))):
        cuts = sorted(draw(st.sets(st.integers(1, LENGTH - 1), min_size=2, max_size=12)))
        cuts = cuts[: len(cuts) // 2 * 2]
        exons = draw(st.permutations([(cuts[j], cuts[j + 1]) for j in range(0, len(cuts), 2)]))
        out.append(Transcript(f"T{i}", f"G{i % 2}", draw(st.sampled_from("+-")), tuple(exons)))
    return out


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transcripts())
def test_sites_are_the_rule_and_mirror(tmp_path, made):
    for text in (case.gtf(made), case.gff3(made), case.gene_table(made)):
        assert sites(read(tmp_path, text)) == case.oracle(made)
    mirrored = sites(read(tmp_path, case.gtf(case.mirror(made))))
    flip = {"+": "-", "-": "+"}
    assert mirrored == {(c, LENGTH - 1 - p, flip[s], k) for c, p, s, k in sites(read(tmp_path, case.gtf(made)))}


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 2**39), st.sampled_from([1, -1]), st.sampled_from([0, 1])),
        min_size=1,
    )
)
def test_keys_round_trip_and_sort(rows):
    chrom, pos, strand, site = (np.array(c) for c in zip(*rows, strict=True))
    keys = pack(chrom, pos, strand, site)
    for back, given_ in zip(unpack(keys), (chrom, pos, strand, site), strict=True):
        np.testing.assert_array_equal(back, given_)
    # contig, pos, "+" before "-", acceptor before donor: as site tables are sorted
    order = sorted(range(len(rows)), key=lambda i: (chrom[i], pos[i], -strand[i], -site[i]))
    np.testing.assert_array_equal(keys[order], np.sort(keys))


@pytest.mark.parametrize("strand", "+-")
def test_exons_that_touch_or_overlap_have_no_site_between_them(tmp_path, strand):
    made = [Transcript("T", "G", strand, ((100, 200), (200, 300), (290, 310), (295, 300), (400, 500)))]
    merged = [Transcript("T", "G", strand, ((100, 310), (400, 500)))]
    assert sites(read(tmp_path, case.gtf(made))) == case.oracle(merged)


def test_gff3_shared_exons_and_several_genes(tmp_path):
    text = "\n".join(
        [
            "chr1\tx\texon\t101\t200\t.\t+\t.\tID=e1;Parent=transcript:A,transcript:B",
            "chr1\tx\texon\t301\t400\t.\t+\t.\tID=e2;Parent=transcript:A",
            "chr1\tx\texon\t301\t400\t.\t+\t.\tID=e2;Parent=transcript:B",
            "chr1\tx\texon\t501\t600\t.\t+\t.\tID=e3;Parent=transcript:B",
            "chr1\tx\texon\t501\t600\t.\t+\t.\tID=e3;Parent=transcript:B",
            "chr1\tx\tmRNA\t101\t400\t.\t+\t.\tID=transcript:A;Parent=gene:G%2C1",
            "chr1\tx\tmRNA\t101\t600\t.\t+\t.\tID=transcript:B;Parent=gene:G%2C1,gene:G2",
            "chr1\tx\tgene\t101\t600\t.\t+\t.\tID=gene:G%2C1;Name=one%3Btwo",
            "chr1\tx\tgene\t101\t600\t.\t+\t.\tID=gene:G2",
        ]
    )
    found = read(tmp_path, text)
    pairs = sorted(zip(found.transcript_id, found.gene_id, found.gene_name, strict=True))
    assert pairs == [("A", "G,1", "one;two"), ("B", "G,1", "one;two"), ("B", "G2", "G2")]
    assert exons_of(found)["B"] == [(100, 200), (300, 400), (500, 600)] * 2
    assert len(found.exon_start) == 8  # the exon that stands twice counts once
    assert len(sites(found)) == 4


def test_ncbi_exons_on_a_gene(tmp_path):
    """NCBI pseudogenes have exons without a transcript."""
    text = (
        "##gff-version 3\nNC_000001.11\tx\tpseudogene\t101\t400\t.\t-\t.\tID=gene-P1;gene=P1\n"
        "NC_000001.11\tx\texon\t101\t200\t.\t-\t.\tID=id-1;Parent=gene-P1\n"
        "NC_000001.11\tx\texon\t301\t400\t.\t-\t.\tID=id-2;Parent=gene-P1\n"
    )
    found = read(tmp_path, text)
    assert (found.gene_id[0], found.transcript_id[0]) == ("P1", "P1")
    assert sites(found) == {("chr1", 300, "-", "donor"), ("chr1", 199, "-", "acceptor")}


def test_other_contigs_are_dropped_and_counted(tmp_path, caplog):
    made = case.three_genes()
    text = case.gtf(made) + case.gtf([Transcript("U", "H", "+", ((1, 5), (9, 12)), "chrUn")]).split("\n", 1)[1]
    with caplog.at_level(logging.INFO, "libmeta"):
        found = read(tmp_path, text)
    assert found.dropped == {"chrUn": 5}
    assert "5 lines on 1 contigs" in caplog.text
    assert sites(found) == case.oracle(made)


def test_only_some_contigs(tmp_path):
    text = case.gtf([*case.three_genes(), Transcript("U", "H", "+", ((1, 5), (9, 12)), "chr2")])
    assert list(read(tmp_path, text, only={"chr2"}).transcript_id) == ["U"]
    assert len(read(tmp_path, case.gtf(case.three_genes()), only={"chr2"})) == 0


def test_names_without_order_and_unquoted(tmp_path):
    text = "chr1\tx\texon\t5\t9\t.\t+\t.\ttranscript_id T1; gene_id G1\n"
    text += "chr1\tx\texon\t15\t19\t.\t+\t.\tgene_id G1; transcript_id T1;\n"
    found = read(tmp_path, text)
    assert (list(found.transcript_id), list(found.gene_id)) == (["T1"], ["G1"])


def test_unstranded_exons_are_left_out(tmp_path, caplog):
    text = case.gtf(case.three_genes()) + 'chr1\tx\texon\t5\t9\t.\t.\t.\tgene_id "S"; transcript_id "S.1";\n'
    with caplog.at_level(logging.INFO, "libmeta"):
        assert "S.1" not in read(tmp_path, text).transcript_id
    assert "1 exons without a strand" in caplog.text


GOOD = 'chr1\tx\texon\t101\t200\t.\t+\t.\tgene_id "G"; transcript_id "T";\n'
BAD = {
    "no exon lines": GOOD.replace("exon", "CDS"),
    "line 2; mend": GOOD + "chr1\tx\texon\t301\n",
    "not 9 tab-separated columns, ": GOOD + "nonsense\n",
    "not integers": GOOD + GOOD.replace("101", "x1"),
    "strand '*'": GOOD + GOOD.replace("+", "*"),
    "starts after it ends": GOOD + GOOD.replace("101", "201"),
    "starts before the first base": GOOD + GOOD.replace("101", "0"),
    "exon without transcript_id": GOOD + GOOD.replace('transcript_id "T";', ""),
    "past chr1 (20,000 bp)": GOOD + GOOD.replace("200", "20001"),
    "exons on two strands": GOOD + GOOD.replace("+", "-"),
    "exons on two contigs": GOOD + GOOD.replace("chr1", "chr2"),
    "no contig in common": GOOD.replace("chr1", "chr7"),
    "neither GTF, GFF3": ">chr1\nACGT\n",
    "exon without Parent": "##gff-version 3\nchr1\tx\texon\t101\t200\t.\t+\t.\tID=e1\n",
    "contig chr1 is 30,000 bp": "##gff-version 3\n##sequence-region chr1 1 30000\n" + case.gff3(case.three_genes()),
    "1 exon starts and 2 exon ends": "N\tchr1\t+\t1\t9\t1,\t5,9,\n",
    "starts or ends are not integers": "N\tchr1\t+\t1\t9\t1,x\t5,9,\n",
    "not NAME CHROM": "N\tchr1\t+\t1\t9\t1,\t5,\nN\tchr1\t+\t1\n",
}


@pytest.mark.parametrize("says", BAD)
def test_bad_input(tmp_path, says):
    with pytest.raises(MetaError) as error:
        read(tmp_path, BAD[says])
    assert says in str(error.value)
    assert "a.txt" in str(error.value)


def test_line_numbers_count_every_line(tmp_path):
    with pytest.raises(MetaError, match=r"a\.txt line 5;"):
        read(tmp_path, "#c\n\n" + GOOD + "#c\n" + GOOD.replace("101", "x"))


def test_cut_files(tmp_path):
    text = case.gtf(case.many_genes(30)) * 40
    whole = gzip.compress(text.encode())
    path = tmp_path / "a.gtf.gz"
    path.write_bytes(whole[: len(whole) // 2])
    for _ in ("gzip", "bgzip at a block boundary"):
        with pytest.raises(MetaError, match="truncated") as error:
            annotation.read(path, CONTIGS)
        assert error.value.code == CUT_SHORT
        case.write(path, text, "bgzip")
        path.write_bytes(path.read_bytes()[:-28])  # without its end block every other block is whole
    path.write_bytes(b"")
    with pytest.raises(MetaError, match="empty"):
        annotation.read(path, CONTIGS)
    with pytest.raises(MetaError, match="no such file"):
        annotation.read(tmp_path / "none.gtf", CONTIGS)


# ---- dinucleotides --------------------------------------------------------------------------------------------------


def rates_of(tmp_path, made, sequence=None):
    genome = (
        case.genome_of(tmp_path, made)
        if sequence is None
        else case.Genome(case.write_fasta(tmp_path / "g.fa", sequence))
    )
    keys = np.unique(annotation.read(case.write(tmp_path / "a.gtf", case.gtf(made)), genome.contigs).sites()[0])
    return dinucleotides.rates(keys, dinucleotides.beside(genome, keys))


@pytest.mark.parametrize("turn", [lambda t: t, case.mirror])
def test_planted_sites_fit(tmp_path, turn):
    found = rates_of(tmp_path, turn(case.many_genes()))
    assert [(r.strand, r.site) for r in found] == [
        ("+", "donor"),
        ("+", "acceptor"),
        ("-", "donor"),
        ("-", "acceptor"),
    ]
    assert all(r.known == r.fitting == 30 for r in found)


def test_shifted_coordinates_stop(tmp_path):
    made = case.many_genes()
    shifted = [case.replace(t, exons=tuple((s + 1, e + 1) for s, e in t.exons)) for t in made]
    found = rates_of(tmp_path, shifted, case.plant(made))
    with pytest.raises(MetaError, match="another build or with shifted coordinates"):
        dinucleotides.check(found, 0.95, "GRCh38", "a.gtf")
    dinucleotides.check(found, 0.0, "GRCh38", "a.gtf")


def test_few_sites_only_warn(tmp_path, caplog):
    made = case.three_genes()
    shifted = [case.replace(t, exons=tuple((s + 7, e + 7) for s, e in t.exons)) for t in made]
    dinucleotides.check(rates_of(tmp_path, shifted, case.plant(made)), 0.95, None, "a.gtf")
    assert "too few to judge" in caplog.text


def test_masked_sequence_is_not_counted(tmp_path):
    made = case.many_genes()
    sequence = case.plant(made)
    sequence["chr1"] = sequence["chr1"][:9000].lower() + "N" * (LENGTH - 9000)
    found = rates_of(tmp_path, made, sequence)
    assert all(0 < r.known < 30 and r.fitting == r.known for r in found)


# ---- tiers ----------------------------------------------------------------------------------------------------------


def nested(tmp_path, made, caplog):
    """What reading tiers MANE, basic, all of one GTF warns of."""
    genome = case.genome_of(tmp_path, made)
    case.write(tmp_path / "a.gtf", case.gtf(made))
    wanted = [
        {"name": n, "gtf": tmp_path / "a.gtf", "tag": t}
        for n, t in (("MANE", "MANE_Select"), ("basic", "basic"), ("all", None))
    ]
    with caplog.at_level(logging.WARNING, "libmeta"):
        found = tiers.read(genome, wanted, None)
    return found, caplog.text


def test_tiers_that_do_not_nest_are_told(tmp_path, caplog):
    """T3 of three_genes is MANE but not basic: its six sites are those that basic lacks."""
    found, told = nested(tmp_path, case.three_genes(), caplog)
    assert "tiers do not nest: 6 of 10 sites of MANE are not in basic; they keep tier 0" in told
    assert "of basic are not in all" not in told
    assert (found.tier == 0).sum() == 10


def test_tiers_that_nest_are_quiet(tmp_path, caplog):
    made = [case.replace(t, tags=(*t.tags, "basic")) for t in case.three_genes()]
    assert "nest" not in nested(tmp_path, made, caplog)[1]
