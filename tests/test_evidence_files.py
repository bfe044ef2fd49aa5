"""Interval files of all kinds as tracks, and bad sources: each one line of error, or a documented meaning; never zeros."""

import gzip
import math
import struct
import zlib

import numpy as np
import pysam
import pytest
from evidence_case import LENGTHS, NAN, World, narrowpeak, random_peaks, runs, same, write_bigwig
from hypothesis import given, settings
from hypothesis import strategies as st

from libmeta.contigs import BUILDS, Contigs
from libmeta.errors import MetaError
from libmeta.interval_tracks import IntervalTrack, Steps, highest, open_track, sweep
from libmeta.tissue_tracks import TissueTracks


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def bedgraph(tracks):
    return "".join(
        f"{c}\t{a}\t{b}\t{v!r}\n" for c, values in tracks.items() for a, b, v in runs(values) if not math.isnan(v)
    )


def write_bigbed(path, rows, lengths):
    """A bigBed of one block per contig. rows: {contig: [(start, end, rest)]}, sorted."""
    names = [n for n in lengths if n in rows]
    key = max(map(len, names))
    tree = struct.pack("<IIIIQQ", 0x78CA8C91, len(names), key, 8, len(names), 0) + struct.pack("<BBH", 1, 0, len(names))
    tree += b"".join(n.encode().ljust(key, b"\0") + struct.pack("<II", i, lengths[n]) for i, n in enumerate(names))
    data_at = 64 + len(tree)
    data, leaves = struct.pack("<Q", sum(len(rows[n]) for n in names)), b""
    for i, n in enumerate(names):
        raw = b"".join(struct.pack("<III", i, a, b) + rest.encode() + b"\0" for a, b, rest in rows[n])
        block = zlib.compress(raw)
        span = (i, rows[n][0][0], i, max(b for _, b, _ in rows[n]))
        leaves += struct.pack("<IIIIQQ", *span, data_at + len(data), len(block))
        data += block
    index_at = data_at + len(data)
    last = (len(names) - 1, max(b for _, b, _ in rows[names[-1]]))
    index = struct.pack("<IIQIIIIQII", 0x2468ACE0, 256, len(names), 0, 0, *last, index_at, 64, 0)
    index += struct.pack("<BBH", 1, 0, len(names)) + leaves
    head = struct.pack("<IHHQQQHHQQIQ", 0x8789F2EB, 4, 0, 64, data_at, index_at, 10, 6, 0, 0, 1 << 16, 0)
    path.write_bytes(head + tree + data + index)
    return path


# ---- good files -----------------------------------------------------------------------------------------------------


def test_bedgraph_in_every_wrapping_is_the_bigwig(world):
    """Plain, with header lines, spaces, gzip, bgzip, tabix: the same values as a bigWig of the same numbers."""
    world.bigwig("t")
    text = bedgraph(world.tracks["t"])
    folder = world.folder
    (folder / "plain.bedGraph").write_text("track type=bedGraph\n# made by hand\n" + text)
    (folder / "spaces.bdg").write_text(text.replace("\t", " "))
    (folder / "alias.bdg").write_text(text.replace("c1", "chrc1"))
    with gzip.open(folder / "gz.bedGraph.gz", "wt") as handle:
        handle.write(text)
    (folder / "bg.bedGraph").write_text(text)
    pysam.tabix_compress(str(folder / "bg.bedGraph"), str(folder / "bgzip.bedGraph.gz"), force=True)
    pysam.tabix_compress(str(folder / "bg.bedGraph"), str(folder / "tabix.bedGraph.gz"), force=True)
    pysam.tabix_index(str(folder / "tabix.bedGraph.gz"), preset="bed", force=True)
    contigs = world.genome.contigs
    wanted = open_track(folder / "t.bw", contigs)
    for name in (
        "plain.bedGraph",
        "spaces.bdg",
        "gz.bedGraph.gz",
        "bgzip.bedGraph.gz",
        "tabix.bedGraph.gz",
        "alias.bdg",
    ):
        track = open_track(folder / name, contigs)
        assert (track.file._fetch is not None) == (name == "tabix.bedGraph.gz")
        for chrom, low, high in (("c1", -20, 4030), ("c2", 3, 4), ("c3", 0, 900), ("c2", 1600, 1800), ("c1", 500, 700)):
            found = track.values(chrom, low, high)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, wanted.values(chrom, low, high), err_msg=f"{name} {chrom}")


def test_peaks_as_tracks(world):
    """Between peaks 0, on a contig without peaks and beyond its ends NaN; overlapping peaks: the highest."""
    peaks = {"c1": random_peaks(world.rng, 60, 4000), "c2": random_peaks(world.rng, 9, 1700)}
    folder, contigs = world.folder, world.genome.contigs
    narrowpeak(folder / "x.narrowPeak", peaks)
    rows = {c: [(a, b, f"n\t0\t{s}\t{v!r}\t{p!r}\t-1\t-1") for a, b, s, v, p in some] for c, some in peaks.items()}
    write_bigbed(folder / "x.bb", rows, LENGTHS)
    lines = [(c, a, b, v) for c, some in peaks.items() for a, b, _, v, _ in some]
    (folder / "x.bed").write_text("".join(f"{c}\t{a}\t{b}\tn\t{v!r}\n" for c, a, b, v in lines))
    (folder / "x.broadPeak").write_text("".join(f"{c}\t{a}\t{b}\tn\t0\t.\t{v!r}\t-1\t-1\n" for c, a, b, v in lines))
    kinds = {"x.narrowPeak": "narrowPeak", "x.bb": "narrowPeak", "x.bed": "BED", "x.broadPeak": "broadPeak"}
    for name, kind in kinds.items():
        track = open_track(folder / name, contigs)
        assert track.kind == kind
        for chrom, length in LENGTHS.items():
            found = track.values(chrom, -3, length + 3)
            wanted = []
            for pos in range(-3, length + 3):
                here = [v for a, b, _, v, _ in peaks.get(chrom, []) if a <= pos < b]
                inside = 0 <= pos < length and chrom in peaks
                wanted.append(max(here) if here else 0.0 if inside else NAN)
            same(found, wanted, f"{name} {chrom}")
        for chrom in peaks:
            assert track.cover(chrom) == len({p for c, a, b, _ in lines if c == chrom for p in range(a, b)})


def test_tissues_of_different_kinds_in_one_mark(world):
    world.bigwig("a")
    (world.folder / "b.bedGraph").write_text("c1\t10\t20\t4\n")
    reader = world.reader("epigenetic", h3k36me3={"K562": "a.bw", "HepG2": "b.bedGraph"})
    found = world.read(reader, "c1", 0, 40, "+")
    for pos in range(40):
        here = [world.value("a", "c1", pos), 4.0 if 10 <= pos < 20 else NAN]
        known = [v for v in here if not math.isnan(v)]
        top = found["h3k36me3_max_across_tissues"][pos]
        assert (math.isnan(top) and not known) or top == max(known)
    assert reader.inputs == {
        "h3k36me3.K562": str(world.folder / "a.bw"),
        "h3k36me3.HepG2": str(world.folder / "b.bedGraph"),
    }
    alone = world.reader("epigenetic", h3k36me3="a.bw")
    assert list(alone.inputs) == ["h3k36me3"]
    assert np.nanmax(world.read(alone, "c1", 0, 4000, "+")["h3k36me3_variance"]) == 0


intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20), st.floats(-5, 5, width=32)), max_size=25)


@settings(max_examples=150)
@given(intervals)
def test_sweep_and_steps(rows):
    rows = sorted((a, a + n, v) for a, n, v in rows)
    start, end = (np.array([r[i] for r in rows], np.int64) for i in (0, 1))
    value = np.array([r[2] for r in rows], np.float32)
    steps = highest(start, end, value)
    dense = steps.dense(steps.values, 0, 90, -9)
    wanted = [max((v for a, b, v in rows if a <= p < b), default=-9) for p in range(90)]
    assert dense.tolist() == wanted
    at = np.arange(90)
    row, hit = steps.at(at)
    assert [float(steps.values[r]) if h else -9 for r, h in zip(row, hit, strict=True)] == wanted
    assert steps.dense(steps.values, 33, 34, -9).tolist() == wanted[33:34]
    pairs = {(p, i) for low, high, s, i in sweep(start, end) for s, i in zip(s, i, strict=True)
             for p in range(low[s], high[s])}  # fmt: skip
    assert pairs == {(p, i) for i, (a, b, _) in enumerate(rows) for p in range(a, b)}


def test_sweep_in_pieces(monkeypatch):
    """A small bound on the pairs held at once changes nothing."""
    rng = np.random.default_rng(3)
    start = np.sort(rng.integers(0, 5000, 800))
    end, value = start + rng.integers(1, 300, 800), rng.normal(size=800).astype("f4")
    whole = highest(start, end, value)
    monkeypatch.setattr("libmeta.interval_tracks._PAIRS", 50)
    pieces = highest(start, end, value)
    assert isinstance(pieces, Steps)
    for name in ("start", "end", "values"):
        assert np.array_equal(getattr(whole, name), getattr(pieces, name))


# ---- bad files ------------------------------------------------------------------------------------------------------

GOOD = "c1\t10\t20\t1.5\n"
PEAK = "c1\t10\t20\tp\t0\t+\t1.5\t3\t-1\t-1\n"
BAD_TEXT = {
    "zero length": (GOOD + "c1\t30\t30\t1\n", "interval is empty (c1:30-30), FILE line 2"),
    "end before start": (GOOD + "c1\t30\t29\t1\n", "interval is empty"),
    "unsorted": (GOOD + "c1\t5\t7\t1\n", "not sorted (c1:5-7), FILE line 2; run: sort -k1,1 -k2,2n"),
    "contig in two places": (GOOD + "c2\t1\t2\t1\nc1\t30\t31\t1\n", "contig c1 in two places, FILE line 3"),
    "overlap": (GOOD + "c1\t19\t25\t1\n", "interval overlaps the one before (c1:19-25), FILE line 2"),
    "past the end": (GOOD + "c1\t3990\t4001\t1\n", "interval ends past its contig (c1:3990-4001), FILE line 2; likely"),
    "negative start": ("c1\t-1\t5\t1\n", "interval starts before its contig"),
    "NaN": (GOOD + "\nc1\t30\t40\tnan\n", "value is not a finite number (c1:30-40), FILE line 3"),
    "infinite": (GOOD + "c1\t30\t40\tinf\n", "value is not a finite number"),
    "no number": (GOOD + "c1\t30\t40\t.\n", "'.' is not a number (column 4 of bedGraph), FILE line 2"),
    "BED4": ("c1\t1\t5\tname\n", "'name' is not a number (column 4 of bedGraph), FILE line 1"),
    "BED3": ("c1\t1\t5\n", "a line of 3 columns, FILE; give bedGraph"),
    "ragged": (PEAK + "c1\t30\t40\t5\n", "4 columns where the first line has 10, FILE line 2"),
    "float start": (PEAK.replace("10", "1.5"), "'1.5' is not a number (column 2 of narrowPeak)"),
    "empty": ("", "empty input, FILE"),
    "header only": ("# nothing\ntrack x\n", "no interval, FILE"),
    "other genome": ("zz\t1\t2\t1\n", "no contig in common, FILE"),
    "header counted": ("track x\n#y\n" + GOOD + "c1\t5\t6\t1\n", "FILE line 4"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_intervals(world, case):
    text, says = BAD_TEXT[case]
    path = world.folder / "bad.txt"
    path.write_text(text)
    with pytest.raises(MetaError) as error:
        world.reader("epigenetic", h3k4me3="bad.txt")
    assert says.replace("FILE", str(path)) in str(error.value)


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_intervals_are_met_across_blocks(world, case, monkeypatch):
    """Text is parsed by blocks: with blocks of two lines the errors, and their lines, are the same."""
    monkeypatch.setattr("libmeta.interval_files._BLOCK", 80)
    test_bad_intervals(world, case)


@pytest.mark.parametrize("block", [40, 100, 1000])
def test_blocks_do_not_change_what_is_read(world, monkeypatch, block):
    world.bigwig("t")
    (world.folder / "x.bdg").write_text(bedgraph(world.tracks["t"]))
    whole = open_track(world.folder / "x.bdg", world.genome.contigs).values("c1", 0, 4000)
    monkeypatch.setattr("libmeta.interval_files._BLOCK", block)
    np.testing.assert_array_equal(open_track(world.folder / "x.bdg", world.genome.contigs).values("c1", 0, 4000), whole)
    lines = (world.folder / "x.bdg").read_text().splitlines()
    for i in range(1, 9):  # some of these lines are the first of a block
        chrom, _, end, value = lines[i].split("\t")
        before = int(lines[i - 1].split("\t")[2])
        for moved, says in ((before - 1, "overlaps the one before"), (-3, "starts before its contig")):
            bad = [*lines[:i], f"{chrom}\t{moved}\t{max(int(end), moved + 1)}\t{value}", *lines[i + 1 :]]
            (world.folder / "bad.bdg").write_text("\n".join(bad) + "\n")
            with pytest.raises(MetaError, match=rf"{says} .* line {i + 1};"):
                open_track(world.folder / "bad.bdg", world.genome.contigs)


def test_bad_intervals_behind_an_index_are_met_when_read(world):
    """tabix sorts nothing and checks little; bigBed less."""
    path = world.folder / "x.bed"
    path.write_text(PEAK + "c1\t3000\t5000\tp\t0\t+\t1\t3\t-1\t-1\n")
    pysam.tabix_compress(str(path), f"{path}.gz")
    pysam.tabix_index(f"{path}.gz", preset="bed")
    rest = "p\t0\t+\t1.5\t3\t-1\t-1"
    write_bigbed(world.folder / "x.bb", {"c1": [(10, 10, rest), (20, 30, rest)]}, LENGTHS)
    for name, says in (("x.bed.gz", "ends past its contig (c1:3000-5000)"), ("x.bb", "interval is empty (c1:10-10)")):
        reader = world.reader("epigenetic", h3k4me3=name)
        with pytest.raises(MetaError, match=r"(?s).*") as error:
            world.read(reader, "c1", 0, 10, "+")
        assert says in str(error.value)
        assert str(world.folder / name) in str(error.value)


def test_truncated_files(world):
    world.bigwig("t")
    with gzip.open(world.folder / "x.bedGraph.gz", "wt") as handle:
        handle.write(bedgraph(world.tracks["t"]))
    raw = (world.folder / "x.bedGraph.gz").read_bytes()
    (world.folder / "cut.bedGraph.gz").write_bytes(raw[: len(raw) // 2])
    raw = (world.folder / "t.bw").read_bytes()
    (world.folder / "cut.bw").write_bytes(raw[: len(raw) // 2])
    (world.folder / "cut.bb").write_bytes(struct.pack("<I", 0x8789F2EB) + b"\4\0" + bytes(10))
    for name, says in (("cut.bedGraph.gz", "truncated or damaged gzip"), ("cut.bw", "truncated bigWig"),
                       ("cut.bb", "truncated")):  # fmt: skip
        for table in (name, {"K562": name, "HepG2": "t.bw"}):
            with pytest.raises(MetaError, match=says):
                world.reader("epigenetic", h3k4me3=table)


def bigwig(world, name, rows, lengths=LENGTHS):
    import pyBigWig

    file = pyBigWig.open(str(world.folder / name), "w")
    file.addHeader(list(lengths.items()), maxZooms=0)
    if rows:
        chrom, start, end, value = (list(c) for c in zip(*rows, strict=True))
        file.addEntries(chrom, start, ends=end, values=[float(v) for v in value])
    file.close()
    return name


def test_bad_bigwigs(world):
    bigwig(world, "empty.bw", [])
    bigwig(world, "past.bw", [("c1", 10, 20, 1), ("c1", 3990, 4010, 1)])
    with pytest.raises(MetaError, match=r"no value in the whole file, .*empty.bw"):
        world.reader("chrom_access", atac="empty.bw")
    with pytest.raises(MetaError, match=r"value past the end of c1 \(4,000 bp\), .*past.bw; likely another build"):
        world.reader("chrom_access", dnase="past.bw")
    for name, value in (("negative.bw", -0.5), ("infinite.bw", math.inf)):
        bigwig(world, name, [("c1", 100, 110, value), ("c1", 200, 300, 1)])
        with pytest.raises(MetaError, match=rf"signal (-0.5|inf), .*{name}; give fold change"):
            world.reader("chrom_access", dnase=name)
    (world.folder / "negative.bedGraph").write_text("c1\t5\t6\t-1\n")
    with pytest.raises(MetaError, match=r"signal -1 at c1:6, .*negative.bedGraph; give fold change"):
        world.read(world.reader("chrom_access", dnase="negative.bedGraph"), "c1", 0, 50, "+")


@pytest.mark.parametrize(("modality", "key"), [("conservation", "phylop"), ("exon_prob", "both")])
def test_bad_bigwigs_of_single_tracks(world, modality, key):
    """No value, values past the end, damage within: errors for conservation and exon probabilities too, not nulls."""
    world.bigwig("good")
    bigwig(world, "empty.bw", [])
    bigwig(world, "past.bw", [("c1", 10, 20, 1), ("c1", 3990, 4010, 1)])
    bigwig(world, "infinite.bw", [("c1", 100, 110, math.inf)])
    raw = bytearray((world.folder / "good.bw").read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 400] = bytes(400)
    (world.folder / "rot.bw").write_bytes(bytes(raw))
    for name, says in (("empty", "no value in the whole file"), ("past", r"value past the end of c1 \(4,000 bp\)"),
                       ("infinite", "infinite value at c1:101"), ("rot", "cannot read")):  # fmt: skip
        with pytest.raises(MetaError, match=rf"{says}.*{name}.bw"):
            world.read(world.reader(modality, **{key: f"{name}.bw"}), "c1", 0, 4000, "+")
    with pytest.raises(MetaError, match=rf"a table where one file is needed, \[modalities.{modality}\] {key} in"):
        world.reader(modality, **{key: {"K562": "good.bw"}})
    with pytest.raises(MetaError, match="no file name where one file is needed"):
        world.reader(modality, **{key: 3})


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "no file in the table, [modalities.junction] files"),
        ({"": "j.tab"}, "a tissue without a name"),
        ({"liver": "j.tab", "Liver ": "k.tab"}, "tissue 'Liver ' is there as 'liver' too"),
        ({"liver": "j.tab", "brain": "j.tab"}, "one file for liver and brain"),
    ],
)
def test_bad_junction_tables(world, files, says):
    for name in "jk":
        (world.folder / f"{name}.tab").write_text("c1\t301\t500\t1\t1\t1\t7\t0\t30\n")
    with pytest.raises(MetaError) as error:
        world.reader("junction", files=files)
    assert says in str(error.value)


def test_carriage_returns_and_header_lines(world):
    """Files from other systems: the same intervals."""
    text = "track type=narrowPeak\nbrowser position c1\n#chrom\tstart\n" + PEAK + "c1\t30\t40\tp\t0\t-\t2\t5\t-1\t-1\n"
    for name, raw in (("a", text), ("b", text.replace("\n", "\r\n"))):
        (world.folder / f"{name}.narrowPeak").write_bytes(raw.encode())
    for strand in "+-":
        found = [
            world.read(world.reader("rbp_eclip", files={"QKI_K562": f"{n}.narrowPeak"}), "c1", 0, 60, strand)
            for n in "ab"
        ]
        assert found[0]["rbp_n_bound"].sum() == 10
        for name in found[0]:
            np.testing.assert_array_equal(found[0][name], found[1][name])


def test_cell_lines_are_the_same_in_any_case(world):
    (world.folder / "a.narrowPeak").write_text(PEAK)
    (world.folder / "b.narrowPeak").write_text(PEAK)
    reader = world.reader("rbp_eclip", files={"QKI_K562": "a.narrowPeak", "RBFOX2_k562": "b.narrowPeak"})
    assert world.read(reader, "c1", 15, 16, "+")["rbp_cell_line_breadth"] == 1


def test_nan_in_a_bigwig_is_missing(world):
    bigwig(world, "nan.bw", [("c1", 100, 110, math.nan), ("c1", 110, 300, 1)])
    found = world.read(world.reader("chrom_access", atac="nan.bw"), "c1", 90, 130, "+")
    assert [math.isnan(v) for v in found["atac_max_across_tissues"]] == [True] * 20 + [False] * 20
    same(found["atac_context_mean"][:1], [1.0])


def test_builds(world):
    """Another build than the genome's; two builds in one mark, also on contigs that the genome does not have."""
    other = dict(LENGTHS, c1=4100)
    bigwig(world, "other.bw", [("c1", 1, 5, 1)], other)
    world.bigwig("good")
    with pytest.raises(MetaError, match=r"contig c1 is 4,100 bp, .*other.bw, and 4,000 bp"):
        world.reader("epigenetic", h3k4me3="other.bw")
    with pytest.raises(MetaError, match=r"two builds in one mark: contig c1 is 4,000 bp in A .* and 4,100 bp in B"):
        world.reader("epigenetic", h3k4me3={"A": "good.bw", "B": "other.bw"})
    contigs = Contigs({"chr15": 101991189}, "chr15.fa")
    paths = {}
    for build in ("GRCh37", "GRCh38"):
        lengths = {f"chr{k}" if build == "GRCh38" else k: BUILDS[build][k] for k in ("1", "2")}
        paths[build] = world.folder / bigwig(world, f"{build}.bw", [(next(iter(lengths)), 1, 5, 1)], lengths)
    with pytest.raises(
        MetaError, match=r"contig chr1 is 249,250,621 bp in GRCh37 \(GRCh37\) .*GRCh38 \(GRCh38\), key;"
    ):
        TissueTracks(paths, contigs, "key")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "no file in the table, [modalities.epigenetic] h3k4me3"),
        ({"": "t.bw"}, "a tissue without a name"),
        ({"K562": "t.bw", "k562 ": "u.bw"}, "tissue 'k562 ' is there as 'K562' too"),
        ({"K562": "t.bw", "H1": "t.bw"}, "one file for K562 and H1"),
        (["t.bw"], "neither a file nor a table of files"),
        (7, "neither a file nor a table of files"),
        ("gone.bw", "no such file"),
        ({"K562": 3}, "not a file name"),
    ],
)
def test_bad_tissue_tables(world, value, says):
    world.bigwig("t")
    world.bigwig("u")
    with pytest.raises(MetaError) as error:
        world.reader("epigenetic", h3k4me3=value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


ECLIP = {
    "no strand": (PEAK.replace("+", "."), "RBFOX2_K562", "peak without a strand (c1:10-20)"),
    "no p": (PEAK.replace("\t3\t", "\t-1\t"), "RBFOX2_K562", "no -log10 p in column 8"),
    "bedGraph": (GOOD, "RBFOX2_K562", "bedGraph where eCLIP peaks are needed"),
    "BED6": ("c1\t1\t9\tpeak\t0\t+\n", "RBFOX2_K562", "BED where eCLIP peaks are needed"),
    "nobody": (PEAK, "RBFOX2", "neither the key nor the peak name 'p' tells protein and cell line"),
}


@pytest.mark.parametrize("case", ECLIP)
def test_bad_eclip(world, case):
    text, key, says = ECLIP[case]
    (world.folder / "x.bed").write_text(text)
    with pytest.raises(MetaError) as error:
        world.read(world.reader("rbp_eclip", files={key: "x.bed"}), "c1", 0, 100, "+")
    assert says in str(error.value)


def test_weak_peaks_are_no_peaks_but_cover_their_contig(world):
    (world.folder / "x.bed").write_text(PEAK.replace("\t3\t", "\t1.99\t"))
    found = world.read(world.reader("rbp_eclip", files={"QKI_K562": "x.bed"}), "c1", 0, 30, "+")
    assert all((v == 0).all() for v in found.values())
    found = world.read(world.reader("rbp_eclip", files={"QKI_K562": "x.bed"}), "c2", 0, 30, "+")
    assert all(np.isnan(v).all() for v in found.values())


def test_probabilities_out_of_range(world):
    bigwig(world, "x.bw", [("c1", 5, 6, 1.5)])
    with pytest.raises(MetaError, match=r"1.5 at c1:6 is no probability"):
        world.read(world.reader("exon_prob", both="x.bw"), "c1", 0, 10, "+")
    with pytest.raises(MetaError, match="both and plus"):
        world.reader("exon_prob", both="x.bw", plus="x.bw")


def test_files_that_vanish_after_they_were_opened(world):
    """The tracks stay open: what was there when the run began is what is read."""
    world.bigwig("t")
    (world.folder / "x.bedGraph").write_text(bedgraph(world.tracks["t"]))
    for name in ("t.bw", "x.bedGraph"):
        reader = world.reader("epigenetic", h3k4me3=name)
        (world.folder / name).unlink()
        found = world.read(reader, "c1", 0, 4000, "+")["h3k4me3_max_across_tissues"]
        same(found, [world.value("t", "c1", p) for p in range(4000)])


def test_interval_track_knows_its_contigs(world):
    (world.folder / "x.bdg").write_text(GOOD)
    track = IntervalTrack(world.folder / "x.bdg", world.genome.contigs)
    assert "c1" in track
    assert "c2" not in track
    assert write_bigwig(world.folder / "y.bw", {}, LENGTHS).exists()
