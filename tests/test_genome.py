"""FASTA, contig aliases, builds, regions and BED."""

import gzip

import numpy as np
import pysam
import pytest
from conftest import random_sequence, write_fasta
from hypothesis import given
from hypothesis import strategies as st

from libmeta.contigs import Contigs, guess_build
from libmeta.errors import NOTHING_TO_SCORE, MetaError
from libmeta.genome import Genome, decode, encode, reverse_complement
from libmeta.regions import Region, merge, parse_region, read_bed, region_fields, windows

HG38 = Contigs({"chr1": 248956422, "chr15": 101991189, "chrM": 16569}, "hg38.fa")


@pytest.fixture
def fasta(tmp_path):
    return write_fasta(tmp_path / "g.fa", {"c1": random_sequence(1000), "c2": "acgtNRYkACGT" * 10})


@given(st.text("ACGTN", max_size=200))
def test_codes_round_trip(text):
    assert decode(encode(text)) == text
    assert (reverse_complement(reverse_complement(encode(text))) == encode(text)).all()
    assert decode(reverse_complement(encode(text))) == text.translate(str.maketrans("ACGT", "TGCA"))[::-1]


def test_lower_case_is_the_same_base_and_iupac_is_unknown():
    assert decode(encode("acgtuRYKMn")) == "ACGTTNNNNN"


@given(start=st.integers(-60, 1100), length=st.integers(1, 200))
def test_codes_beyond_the_contig(tmp_path_factory, start, length):
    text = random_sequence(1000)
    genome = Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", {"c": text}))
    wide = "N" * 1300 + text + "N" * 1300
    expected = wide[1300 + start : 1300 + start + length]
    assert decode(genome.codes("c", start, start + length)) == expected
    assert (genome.codes("c", start, start + length, "-") == reverse_complement(encode(expected))).all()


def test_bgzip_equals_plain(fasta):
    packed = fasta.with_suffix(".fa.gz")
    pysam.tabix_compress(str(fasta), str(packed))
    for chrom in ("c1", "c2"):
        assert (Genome(fasta).codes(chrom, 0, 100) == Genome(packed).codes(chrom, 0, 100)).all()


def test_bad_fasta(tmp_path, fasta):
    plain = fasta.read_bytes()
    cases = {
        "absent.fa": (None, "no such genome"),
        "empty.fa": (b"", "empty genome"),
        "text.fa": (b"chr1\t1\t5\n", "not FASTA"),
        "gzip.fa.gz": (gzip.compress(plain), "gzip but not bgzip"),
    }
    for name, (content, says) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(MetaError, match=says):
            Genome(tmp_path / name)


def test_truncated_fasta(tmp_path, fasta):
    packed = tmp_path / "t.fa.gz"
    pysam.tabix_compress(str(fasta), str(packed))
    packed.write_bytes(packed.read_bytes()[:-28])
    with pytest.raises(MetaError, match="truncated genome"):
        Genome(packed)
    Genome(fasta)  # makes the index
    fasta.write_bytes(fasta.read_bytes()[:-50])
    with pytest.raises(MetaError, match="shorter than its index"):
        Genome(fasta)


@pytest.mark.parametrize("name", ["chr15", "15", "NC_000015.10", "CHR15"])
def test_aliases(name):
    assert HG38.resolve(name) == "chr15"


@pytest.mark.parametrize("name", ["chrM", "MT", "M", "chrMT", "NC_012920.1"])
def test_mitochondrion(name):
    assert HG38.resolve(name) == "chrM"


def test_wrong_build_is_named():
    with pytest.raises(MetaError, match="GRCh37 against GRCh38"):
        HG38.match({"15": 102531392}, "tracks.bw")
    with pytest.raises(MetaError, match="no contig in common"):
        HG38.match(["scaffold_1"], "x.bed")
    assert HG38.match({"15": 101991189, "x": 5}, "t") == {"15": "chr15"}
    assert guess_build({"a": 1}) is None


def bed(tmp_path, text, contigs=HG38):
    path = tmp_path / "x.bed"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_bed(path, contigs)


def test_bed(tmp_path):
    text = "# comment\ntrack name=x\n15\t10\t20\tg\t0\t-\nchr1\t5\t6\n"
    assert bed(tmp_path, text) == [Region("chr1", 5, 6), Region("chr15", 10, 20, "-", "g")]
    assert bed(tmp_path, gzip.compress(text.encode())) == bed(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no interval"),
        ("#only\n", "no interval"),
        ("chr1\t5\n", "not BED"),
        ("chr1\tx\t9\n", "not BED"),
        ("chr1\t9\t9\n", "not before end"),
        ("chr1\t-1\t9\n", "not BED"),
        ("chr1\t5\t9\t.\t0\t*\n", "strand"),
        ("chr1\t5\t9\nchr1\t2\t9\n", "not sorted"),
        ("chr1\t5\t9\nchr15\t2\t9\nchr1\t12\t19\n", "not sorted"),
        ("chr1\t5\t9\nchr1\t5\t9\n", "stands twice"),
        ("chr15\t5\t102531392\n", "past chr15"),
        ("chrUn\t5\t9\n", "not in the genome"),
        (b"\x1f\x8b\x08\x00" + b"\0" * 6, "gzip"),
        (b"chr1\t5\t9\t\xff\xfe\n", "not text"),
    ],
)
def test_bad_bed(tmp_path, text, says):
    with pytest.raises(MetaError, match=says) as error:
        bed(tmp_path, text)
    assert error.value.code == (NOTHING_TO_SCORE if "no interval" in says else 1)


def test_regions_of_the_command_line_are_one_based():
    assert parse_region("15:1-100:-", HG38) == Region("chr15", 0, 100, "-")
    assert parse_region("chr15:1,000-2,000", HG38) == Region("chr15", 999, 2000)
    assert parse_region("chrM", HG38) == Region("chrM", 0, 16569)
    for bad in ("chr15:0-5", "chr15:9-5", "chr15:1-102531392", "chr99", ""):
        with pytest.raises(MetaError):
            parse_region(bad, HG38)
    assert region_fields(str(Region("c", 4, 9, "+"))) == ("c", 4, 9, "+")


regions = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr15"]), st.integers(0, 500), st.integers(1, 80), st.sampled_from("+-.")),
    min_size=1, max_size=12,
)  # fmt: skip


@given(regions)
def test_merge_covers_the_same_bases_once(items):
    given_regions = [Region(c, s, s + n, k) for c, s, n, k in items]

    def bases(rs):
        return [(r.chrom, p, k) for r in rs for k in r.strands for p in range(r.start, r.end)]

    merged = bases(merge(given_regions, HG38))
    assert len(merged) == len(set(merged))
    assert set(merged) == set(bases(given_regions))


def test_windows_do_not_depend_on_the_regions():
    cut = [r for cell in windows([Region("chr1", 100, 3_000_000, "+")], HG38) for r in cell]
    assert [r.start for r in cut] == [100, 1 << 20, 2 << 20]
    assert np.sum([r.end - r.start for r in cut]) == 2_999_900
