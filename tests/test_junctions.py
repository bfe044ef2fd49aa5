"""Junction readers, strands, builds; support of sites against plain Python."""

import gzip
import logging
import math
from collections import defaultdict

import annotation_case as case
import junction_case as jc
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junction_case import Junction

from libmeta import annotation, schema, streams
from libmeta.errors import CUT_SHORT, MetaError
from libmeta.genome import Genome
from libmeta.junctions import load, site_support


@pytest.fixture(scope="module")
def made():
    return case.many_genes()


@pytest.fixture(scope="module")
def genome(tmp_path_factory, made):
    return case.genome_of(tmp_path_factory.mktemp("genome"), made)


def read(tmp_path, text, genome, tissue=None, name="liver.SJ.out.tab", **more):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load([(tissue, path)], genome, **more)


def rows(table, *names):
    return list(zip(*(table[n].to_pylist() for n in names), strict=True))


KEY = ("chrom", "start", "end", "strand", "reads")


@pytest.mark.parametrize("form", jc.WRITERS)
@pytest.mark.parametrize("packed", [False, True])
def test_formats_agree(tmp_path, genome, made, form, packed):
    junctions = jc.of(made)
    text = jc.WRITERS[form](junctions).encode()
    table = read(tmp_path, gzip.compress(text) if packed else text, genome)
    assert table.schema.equals(schema.load("junctions").arrow)
    assert rows(table, *KEY) == [(j.chrom, j.start, j.end, j.strand, j.reads) for j in junctions]
    assert set(table["tissue"].to_pylist()) == {"one" if form == "gct" else "liver"}
    told = {"star": (j.reads - 1 for j in junctions)}.get(form, [None] * len(junctions))
    assert table["unique_reads"].to_pylist() == list(told)
    assert set(table["overhang"].to_pylist()) == {{"star": 17, "regtools": 30}.get(form)}
    assert set(table["annotated"].to_pylist()) == ({True, False} if form == "star" else {None})


def test_our_own_table_comes_back(tmp_path, genome, made):
    table = read(tmp_path, jc.star(jc.of(made)), genome)
    form = schema.load("junctions")
    path = tmp_path / "junctions.parquet"
    with streams.Writer(path, form.arrow.with_metadata(streams.metadata("junctions", 1, []))) as writer:
        writer.write(table)
    assert load([(None, path)], genome).equals(table)
    assert set(load([("brain", path)], genome)["tissue"].to_pylist()) == {"brain"}


def test_aliases_and_sums(tmp_path, genome, made):
    junctions = jc.of(made)
    text = jc.bed6(junctions).replace("chr1\t", "1\t")
    table = read(tmp_path, text + text, genome, tissue="x")
    assert table["reads"].to_pylist() == [2 * j.reads for j in junctions]
    paths = [(t, tmp_path / "liver.SJ.out.tab") for t in ("x", "y", "x")]
    table = load(paths, genome)
    assert rows(table, "tissue", "reads")[:2] == [
        ("x", 4 * junctions[0].reads),
        ("y", 2 * junctions[0].reads),
    ]


@pytest.mark.parametrize("mark", [".", "?"])
def test_unstranded_take_the_strand_that_fits(tmp_path, genome, made, mark, caplog):
    junctions = jc.of(made)
    lost = [Junction(150, 158, mark, 4), Junction(161, 170, mark, 4)]
    with caplog.at_level(logging.INFO, "libmeta"):
        table = read(tmp_path, jc.bed6(jc.unstranded(junctions, mark) + lost), genome)
    assert rows(table, *KEY) == [(j.chrom, j.start, j.end, j.strand, j.reads) for j in junctions]
    assert "2 unstranded junctions left out" in caplog.text
    star = read(tmp_path, jc.star(jc.unstranded(junctions), lambda s: 0), genome)
    assert rows(star, *KEY) == rows(table, *KEY)


def test_strand_that_fits_both_is_dropped(tmp_path, made):
    """GT..AC reads GT..AC on the other strand too."""
    sequence = case.plant(made)["chr1"]
    sequence = sequence[:60] + "GT" + sequence[62:88] + "AC" + sequence[90:]
    genome = Genome(case.write_fasta(tmp_path / "both.fa", {"chr1": sequence}))
    text = jc.bed6([*jc.unstranded(jc.of(made)), Junction(60, 90, ".", 9)])
    table = read(tmp_path, text, genome)
    assert table.num_rows == len(jc.of(made))
    introns = tuple(np.array([v]) for v in (0, 60, 90, -1))
    assert (60, "-") in rows(read(tmp_path, text, genome, introns=introns), "start", "strand")


def test_gct_of_several_samples(tmp_path, genome, made):
    junctions = jc.of(made)
    text = jc.gct(junctions, {"b": lambda r: r / 2, "a": lambda r: 0 if r % 2 else r})
    table = read(tmp_path, text, genome)
    assert sum(table["tissue"].to_numpy() == "b") == len(junctions)
    want = {("b", round(j.reads / 2)) for j in junctions} | {("a", j.reads) for j in junctions if j.reads % 2 == 0}
    assert set(rows(table, "tissue", "reads")) == want
    assert set(read(tmp_path, text, genome, tissue="all")["tissue"].to_pylist()) == {"all"}


def test_tsv_may_tell_more(tmp_path, genome):
    text = "count\tsample\tchrom\tstrand\tend\tstart\tunique_reads\n"
    text += "7\ts1\tchr1\t+\t260\t160\t6\n0\ts2\tchr1\t+\t260\t160\t0\n"
    table = read(tmp_path, text, genome)
    assert rows(table, *KEY, "tissue", "unique_reads") == [("chr1", 160, 260, "+", 7, "s1", 6)]


def test_other_contigs_are_left_out(tmp_path, genome, made, caplog):
    with caplog.at_level(logging.INFO, "libmeta"):
        table = read(tmp_path, jc.bed6([*jc.of(made), Junction(1, 9, "+", 3, "chrUn")]), genome)
    assert "1 junctions on contigs" in caplog.text
    assert set(table["chrom"].to_pylist()) == {"chr1"}
    assert read(tmp_path, jc.bed6(jc.of(made)), genome, only=set()).num_rows == 0


# ---- builds ---------------------------------------------------------------------------------------------------------


def shifted(junctions, by):
    return [Junction(j.start + by, j.end + by, j.strand, j.reads, j.chrom) for j in junctions]


@pytest.mark.parametrize("form", jc.WRITERS)
def test_another_build_is_refused_by_sequence(tmp_path, genome, made, form):
    with pytest.raises(MetaError, match=r"have splice dinucleotides, .*liver.* likely another build"):
        read(tmp_path, jc.WRITERS[form](shifted(jc.of(made), 31)), genome)


def test_intron_past_the_contig_is_refused(tmp_path, genome, made):
    with pytest.raises(MetaError, match=r"junction ends at 20,001, past chr1 \(20,000 bp\), .*; likely another build"):
        read(tmp_path, jc.bed6([*jc.of(made), Junction(19_000, 20_001, "+", 3)]), genome)


def test_some_noise_is_taken(tmp_path, genome, made):
    junctions = jc.of(made)
    noise = [Junction(j.start + 3, j.end, j.strand, 1) for j in junctions[:5]]
    assert read(tmp_path, jc.bed6(junctions + noise), genome).num_rows == 65
    more = [Junction(j.start + 3, j.end, j.strand, 1) for j in junctions[:9]]
    with pytest.raises(MetaError, match="another build"):
        read(tmp_path, jc.bed6(junctions + more), genome)
    assert read(tmp_path, jc.bed6(junctions + more), genome, min_fit=0.5).num_rows == 69


def test_without_sequence_the_annotation_judges(tmp_path, made, caplog):
    genome = Genome(case.write_fasta(tmp_path / "n.fa", {"chr1": "N" * case.LENGTH}))
    found = annotation.read(case.write(tmp_path / "a.gtf", case.gtf(made)), genome.contigs)
    transcript, start, end = found.introns()
    introns = (found.chrom[transcript], start, end, found.strand[transcript])
    junctions = jc.of(made)
    assert read(tmp_path, jc.bed6(junctions), genome, introns=introns).num_rows == len(junctions)
    # unstranded, the annotation gives the strand
    table = read(tmp_path, jc.bed6(jc.unstranded(junctions)), genome, introns=introns)
    assert table["strand"].to_pylist() == [j.strand for j in junctions]
    with pytest.raises(MetaError, match=r"are introns of the annotation.*another build"):
        read(tmp_path, jc.bed6(shifted(junctions, 31)), genome, introns=introns)
    assert "judge the build" not in caplog.text
    read(tmp_path, jc.bed6(shifted(junctions, 31)), genome)
    assert "too few junctions with known sequence" in caplog.text


# ---- bad input ------------------------------------------------------------------------------------------------------

GOOD = "chr1\t160\t260\t.\t5\t+\n"
BAD = {
    "not a junction file that is known": "chr1\t160\t260\n",
    "line 2; mend": GOOD + "chr1\tx\t260\t.\t5\t+\n",
    "line 3; mend": GOOD * 2 + "chr1\t160\t260\n",
    "is empty or starts before": GOOD + "chr1\t260\t260\t.\t5\t+\n",
    "strand 'x'": GOOD + "chr1\t160\t260\t.\t5\tx\n",
    "count 'many'": GOOD + "chr1\t160\t260\t.\tmany\t+\n",
    "-1 reads": GOOD + "chr1\t160\t260\t.\t-1\t+\n",
    "3 blocks": "chr1\t1\t9\tJ\t5\t+\t1\t9\t0\t3\t1,1,1\t0,3,6\n",
    "columns in a BED12": jc.bed12([Junction(160, 260, "+", 5)]) + GOOD,
    "no column count": "chrom\tstart\tend\tstrand\nchr1\t1\t9\t+\n",
    "rows where line 2 promises 3": "#1.2\n3\t1\nName\tDescription\ts\nchr1_161_260\tG\t4\n",
    "not CONTIG_START_END": "#1.2\n1\t1\nName\tDescription\ts\nENSG1\tG\t4\n",
    "malformed GCT": "#1.2\n2\t1\nName\tDescription\ts\nchr1_161_260\tG\t4\nchr1_161_260\tG\tfour\n",
    "no Name, Description and samples": "#1.2\n2\t1\nx\ty\n",
    "no contig in common": "chr7\t160\t260\t.\t5\t+\n",
    "no junctions": "chrom\tstart\tend\tstrand\tcount\n",
}


@pytest.mark.parametrize("says", BAD)
def test_bad_input(tmp_path, genome, says):
    with pytest.raises(MetaError) as error:
        read(tmp_path, BAD[says], genome)
    assert says in str(error.value)
    assert "liver.SJ.out.tab" in str(error.value)


def test_cut_files(tmp_path, genome, made):
    whole = gzip.compress(jc.bed6(jc.of(made)).encode())
    with pytest.raises(MetaError, match="truncated or damaged gzip") as error:
        read(tmp_path, whole[:-30], genome)
    assert error.value.code == CUT_SHORT
    whole = gzip.compress(jc.gct(jc.of(made), {"s": lambda r: r}).encode())
    with pytest.raises(MetaError, match="truncated or damaged gzip"):
        read(tmp_path, whole[:-30], genome)
    with pytest.raises(MetaError, match="empty"):
        read(tmp_path, b"", genome)
    with pytest.raises(MetaError, match="cut short"):
        read(tmp_path, b"PAR1abc", genome)


# ---- support --------------------------------------------------------------------------------------------------------


def support_oracle(rows, tissues, min_support):
    """site_support in plain Python; rows: (chrom, start, end, strand, tissue, reads, unique, annotated)."""
    by_intron = defaultdict(lambda: defaultdict(int))
    for chrom, start, end, strand, tissue, reads, _, _ in rows:
        by_intron[chrom, start, end, strand][tissue] += reads
    ends, of_site = {}, defaultdict(list)
    for intron in by_intron:
        chrom, start, end, strand = intron
        donor, acceptor = (start - 1, end) if strand == "+" else (end, start - 1)
        ends[intron] = ((chrom, donor, strand, "donor"), (chrom, acceptor, strand, "acceptor"))
        for side in ends[intron]:
            of_site[side].append(intron)
    out = {}
    for site, introns in of_site.items():
        partners = {side for i in introns for side in ends[i] if side != site}
        rivals = [i for i in by_intron if partners & set(ends[i])]

        def usage(pick, introns=introns, rivals=rivals):
            own, all_ = (sum(pick(i) for i in group) for group in (introns, rivals))
            return own / all_ if all_ >= min_support else None

        totals = [sum(by_intron[i].values()) for i in introns]
        per_tissue = {t: sum(by_intron[i].get(t, 0) for i in introns) for t in tissues}
        psi = [p for t in tissues if (p := usage(lambda i, t=t: by_intron[i].get(t, 0))) is not None]
        reads = sum(totals)
        mine = [r for r in rows if site in ends[tuple(r[:4])]]
        out[site] = {
            "reads": reads,
            "unique_reads": None if any(r[6] is None for r in mine) else sum(r[6] for r in mine),
            "partners": len(partners),
            "max_reads": max(totals),
            "entropy": -sum(n / reads * math.log2(n / reads) for n in totals),
            "is_annotated": any(r[7] for r in mine) if any(r[7] is not None for r in mine) else None,
            "tissue_breadth": sum(n >= min_support for n in per_tissue.values()),
            "tissues": sorted(t for t, n in per_tissue.items() if n >= min_support),
            "tissue_max": max(per_tissue.values()),
            "tissue_mean": np.mean(list(per_tissue.values())),
            "tissue_variance": np.var(list(per_tissue.values())),
            "psi": usage(lambda i: sum(by_intron[i].values())),
            "psi_max": max(psi, default=None),
            "psi_mean": np.mean(psi) if psi else None,
            "psi_variance": np.var(psi) if psi else None,
            "psi_breadth": sum(p > 0.1 for p in psi) if psi else None,
            "psi_tissues": len(psi),
        }
    return out


def junction_table(rows):
    columns = list(zip(*rows, strict=True)) or [()] * 8
    names = ("chrom", "start", "end", "strand", "tissue", "reads", "unique_reads", "annotated")
    data = dict(zip(names, columns, strict=True)) | {"overhang": [None] * len(rows)}
    form = schema.load("junctions").arrow
    return pa.table({f.name: pa.array(data[f.name], f.type) for f in form}).cast(form)


@st.composite
def junction_rows(draw):
    spots = st.sampled_from([100, 200, 300, 400, 500])
    keys = st.tuples(
        st.sampled_from(["chr1", "chr2"]),
        spots,
        spots,
        st.sampled_from("+-"),
        st.sampled_from(["b", "a", "c"]),
    ).filter(lambda k: k[1] < k[2])
    chosen = sorted(draw(st.sets(keys, min_size=1, max_size=25)))
    out = []
    for key in chosen:
        reads = draw(st.integers(1, 12))
        unique = draw(st.one_of(st.none(), st.integers(0, reads)))
        out.append((*key, reads, unique, draw(st.sampled_from([None, True, False]))))
    return out


@settings(deadline=None, max_examples=80)
@given(junction_rows(), st.integers(1, 5))
def test_support_equals_plain_python(rows, min_support):
    want = support_oracle(rows, sorted({r[4] for r in rows}), min_support)
    found = {(r.pop("chrom"), r.pop("pos"), r.pop("strand"), r.pop("site")): r
             for r in site_support(junction_table(rows), min_support).to_pylist()}  # fmt: skip
    assert found.keys() == want.keys()
    for site, values in want.items():
        for name, value in values.items():
            got = found[site][name]
            assert got == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), (
                site,
                name,
            )


@settings(deadline=None, max_examples=40)
@given(junction_rows())
def test_support_mirrors(rows):
    flip = {"+": "-", "-": "+"}
    mirrored = sorted((c, 1000 - e, 1000 - s, flip[st_], *rest) for c, s, e, st_, *rest in rows)

    def by_site(table, turn):
        return {
            (r.pop("chrom"), turn(r.pop("pos")), r.pop("strand"), r.pop("site")): str(r)
            for r in site_support(table).to_pylist()
        }

    plain = by_site(junction_table(rows), lambda p: p)
    turned = by_site(junction_table(mirrored), lambda p: 999 - p)
    assert {(c, p, flip[s], k): v for (c, p, s, k), v in turned.items()} == plain


def test_support_of_nothing():
    assert site_support(junction_table([])).num_rows == 0


def test_one_read_is_no_psi():
    """A site whose only competitor pool is one read would else have PSI 1."""
    row = site_support(junction_table([("chr1", 10, 20, "+", "t", 1, None, None)])).to_pylist()[0]
    assert (row["reads"], row["psi"], row["psi_max"]) == (1, None, None)
