"""What BigWigWriter writes, read back by pyBigWig and compared with numpy and with a file that pyBigWig wrote."""

import struct
import subprocess
import sys

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libmeta import bigwig_index, bigwig_writer
from libmeta.bigwig_writer import REDUCTIONS, BigWigWriter
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.tracks import BigWig

TYPES = {
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
    "std": lambda x: x.std(ddof=1) if len(x) > 1 else np.nan,
}


def write(path, contigs: Contigs, tracks: dict[str, np.ndarray], cuts=1 << 30):
    """tracks: contig -> values of all its bases, NaN where there is none; written in pieces of `cuts` bases."""
    with BigWigWriter(path, contigs) as out:
        for chrom, values in tracks.items():
            for at in range(0, len(values), cuts):
                out.dense(chrom, at, values[at : at + cuts])
    return pyBigWig.open(str(path))


def gappy(n: int, gaps: int = 20, seed: int = 1) -> np.ndarray:
    """Random values with gaps of all sizes."""
    rng = np.random.default_rng(seed)
    values = rng.random(n).astype(np.float32)
    for start in rng.integers(0, n, gaps):
        values[start : start + int(np.exp(rng.uniform(0, np.log(n / 10))))] = np.nan
    return values


def intervals(values: np.ndarray):
    known = np.flatnonzero(np.isfinite(values))
    return tuple((int(i), int(i) + 1, float(values[i])) for i in known) or None


def expected(values: np.ndarray, bins: int, kind: str) -> np.ndarray:
    """The statistic of `bins` equal parts; NaN where a part has no value, and for a spread where it has one."""
    out = []
    for part in values.reshape(bins, -1).astype(np.float64):
        known = part[np.isfinite(part)]
        if not len(known):
            out.append(np.nan)
        else:
            out.append(len(known) / len(part) if kind == "coverage" else TYPES[kind](known))
    return np.array(out)


def summary(path) -> tuple:
    """Bases covered, min, max, sum, sum of squares, as the file has them."""
    raw = path.read_bytes()
    (at,) = struct.unpack_from("<Q", raw, 44)
    return struct.unpack_from("<Qdddd", raw, at)


def test_same_content_as_pybigwig(tmp_path):
    contigs = Contigs({"chr2": 70_000, "chr10": 40_000, "empty": 10, "chr1": 3_000}, "g.fa")
    tracks = {"chr2": gappy(70_000), "chr10": gappy(40_000, 300, seed=2), "chr1": gappy(3_000, seed=3)}
    ours = write(tmp_path / "ours.bw", contigs, tracks)
    made = pyBigWig.open(str(tmp_path / "theirs.bw"), "w")
    made.addHeader(list(contigs.lengths.items()))
    for chrom, values in tracks.items():
        known = np.flatnonzero(np.isfinite(values))
        made.addEntries(chrom, known, values=values[known].astype(float), span=1)
    made.close()
    theirs = pyBigWig.open(str(tmp_path / "theirs.bw"))
    assert list(ours.chroms().items()) == list(theirs.chroms().items()) == list(contigs.lengths.items())
    for chrom, length in contigs.lengths.items():
        assert ours.intervals(chrom) == theirs.intervals(chrom) == intervals(tracks.get(chrom, np.empty(0)))
        assert np.array_equal(ours.values(chrom, 0, length), theirs.values(chrom, 0, length), equal_nan=True)
        for kind in (*TYPES, "coverage"):
            asked = {"type": kind, "nBins": 7, "exact": True}
            assert ours.stats(chrom, 0, length, **asked) == theirs.stats(chrom, 0, length, **asked)
    keys = ("version", "nBasesCovered", "sumData", "sumSquared")
    assert [ours.header()[k] for k in keys] == [theirs.header()[k] for k in keys]
    assert (tmp_path / "ours.bw").stat().st_size < (tmp_path / "theirs.bw").stat().st_size


def test_total_summary(tmp_path):
    values = gappy(200_000)
    write(tmp_path / "x.bw", Contigs({"a": 200_000}, "g"), {"a": values})
    x = values[np.isfinite(values)].astype(np.float64)
    assert summary(tmp_path / "x.bw") == pytest.approx((len(x), x.min(), x.max(), x.sum(), (x * x).sum()), rel=1e-12)


def test_every_zoom_level(tmp_path):
    """Bins of twice a level's reduction are read from that level: each of its records takes part."""
    n = 1 << 17
    contigs = Contigs({"first": n, "second": n}, "g.fa")
    tracks = {"first": gappy(n), "second": gappy(n, 500, seed=5)}
    track = write(tmp_path / "x.bw", contigs, tracks)
    raw = (tmp_path / "x.bw").read_bytes()
    levels = [struct.unpack_from("<I", raw, 64 + 24 * i)[0] for i in range(track.header()["nLevels"])]
    assert levels == REDUCTIONS[: len(levels)]
    assert len(levels) >= 6
    for reduction in (r for r in levels if 2 * r <= n):
        for chrom, values in tracks.items():
            bins = n // (2 * reduction)
            for kind in (*TYPES, "coverage"):
                found = np.array(track.stats(chrom, 0, n, type=kind, nBins=bins), float)
                wanted = expected(values, bins, kind)
                if kind == "std":  # the reader takes one value's spread for 0 or nothing, and float32 sums round it
                    enough = expected(values, bins, "coverage") * 2 * reduction > 8
                    assert found[enough] == pytest.approx(wanted[enough], rel=1e-3)
                else:
                    assert found == pytest.approx(wanted, rel=1e-5, nan_ok=True), (reduction, kind)


def test_zoom_levels_of_scattered_values_start_where_they_save(tmp_path):
    """A summary of one value is larger than the value: no level of such."""
    contigs = Contigs({"a": 50_000_000}, "g.fa")
    positions = np.arange(0, 50_000_000, 1000)
    values = np.random.default_rng(1).random(len(positions)).astype(np.float32)
    with BigWigWriter(tmp_path / "x.bw", contigs) as out:
        out.sparse("a", positions, values)
    track = pyBigWig.open(str(tmp_path / "x.bw"))
    (finest,) = struct.unpack_from("<I", (tmp_path / "x.bw").read_bytes(), 64)
    assert finest == 8192
    parts = values.astype(np.float64).reshape(50, -1)
    assert track.stats("a", nBins=50) == pytest.approx(parts.mean(axis=1), rel=0.02)
    assert track.stats("a", nBins=50, exact=True) == pytest.approx(parts.mean(axis=1), rel=1e-6)


@st.composite
def genomes(draw):
    """(contigs, values of each): any names in any order, any gaps, contigs without values."""
    names = draw(st.lists(st.text("ab01_", min_size=1, max_size=4), min_size=1, max_size=9, unique=True))
    lengths = {name: draw(st.integers(1, 700)) for name in names}
    tracks = {}
    for name, length in lengths.items():
        values = np.full(length, np.nan, np.float32)
        for _ in range(draw(st.integers(0, 4))):
            start, end = sorted(draw(st.tuples(st.integers(0, length), st.integers(0, length))))
            step = draw(st.sampled_from([1, 1, 1, 2, 7, 60]))
            values[start:end:step] = np.linspace(-1, 1, len(range(start, end, step)), dtype=np.float32)
        tracks[name] = values
    return Contigs(lengths, "g"), tracks


@settings(max_examples=60, deadline=None)
@given(genomes(), st.integers(1, 300), st.booleans())
def test_any_track(tmp_path_factory, genome, cuts, small):
    """Also with sections, batches and nodes so small that there are many of each and the trees are deep."""
    contigs, tracks = genome
    folder = tmp_path_factory.mktemp("w")
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(bigwig_writer, "SLOT", 8)
            patch.setattr(bigwig_writer, "BATCH", 32)
            patch.setattr(bigwig_index, "NODE", 2)
        track = write(folder / "x.bw", contigs, tracks, cuts)
        write(folder / "uncut.bw", contigs, tracks).close()
        with BigWigWriter(folder / "sparse.bw", contigs) as out:
            for chrom, values in tracks.items():
                out.sparse(chrom, np.arange(len(values)), values)
    raw = (folder / "x.bw").read_bytes()
    assert raw == (folder / "uncut.bw").read_bytes() == (folder / "sparse.bw").read_bytes()
    assert list(track.chroms().items()) == list(contigs.lengths.items())
    reader = BigWig(folder / "x.bw", contigs)
    for chrom, values in tracks.items():
        assert np.array_equal(reader.values(chrom, 0, len(values)), values, equal_nan=True)
        assert track.intervals(chrom) == intervals(values)
        low, high = len(values) // 3, len(values) // 3 + len(values) // 2 + 1
        wanted = intervals(np.where((np.arange(len(values)) >= low) & (np.arange(len(values)) < high), values, np.nan))
        assert track.intervals(chrom, low, min(high, len(values))) == wanted
        whole = (0, len(values) // 64 * 64)
        if whole[1]:  # bins of 64 bases: the finest level, where there is one
            found = np.array(track.stats(chrom, *whole, nBins=whole[1] // 64, type="max"), float)
            assert np.array_equal(found, expected(values[: whole[1]], whole[1] // 64, "max"), equal_nan=True)


def test_empty(tmp_path):
    contigs = Contigs({"chr2": 500, "chr1": 900}, "g.fa")
    track = write(tmp_path / "x.bw", contigs, {"chr2": np.full(500, np.nan, np.float32)})
    assert list(track.chroms().items()) == [("chr2", 500), ("chr1", 900)]
    assert track.intervals("chr1") is None
    assert track.stats("chr2") == [None]
    assert summary(tmp_path / "x.bw") == (0, 0, 0, 0, 0)
    assert np.isnan(BigWig(tmp_path / "x.bw", contigs).values("chr1", 0, 900)).all()


@pytest.mark.parametrize("count", [256, 257, 66_000])
def test_many_contigs(tmp_path, count):
    """Names in no order, in a tree of one to three levels; numbers follow the genome."""
    contigs = Contigs({f"c{i * 7919 % count}": 50 + i for i in range(count)}, "g.fa")
    names = list(contigs.lengths)
    with BigWigWriter(tmp_path / "x.bw", contigs) as out:
        for i in range(0, count, 5):
            out.dense(names[i], 40, np.array([i, 1], np.float32))
    track = pyBigWig.open(str(tmp_path / "x.bw"))
    assert list(track.chroms().items()) == list(contigs.lengths.items())
    for i in range(0, count, max(1, count // 50)):
        assert track.intervals(names[i]) == (((40, 41, float(i)), (41, 42, 1.0)) if i % 5 == 0 else None)
    raw = (tmp_path / "x.bw").read_bytes()
    (at,) = struct.unpack_from("<Q", raw, 8)
    _, _, width, _, items = struct.unpack_from("<IIIIQ", raw, at)
    assert (width, items) == (max(map(len, names)), count)
    for name in names[:: max(1, count // 50)]:
        assert search(raw, at + 32, name.encode().ljust(width, b"\0")) == (contigs.order[name], contigs.lengths[name])


def search(raw: bytes, at: int, key: bytes) -> tuple[int, int]:
    """(number, length) of a contig by descent through the tree: as UCSC's programs and IGV look one up."""
    leaf, _, children = struct.unpack_from("<BBH", raw, at)
    items = [raw[at + 4 + i * (len(key) + 8) :][: len(key) + 8] for i in range(children)]
    assert [x[: len(key)] for x in items] == sorted(x[: len(key)] for x in items)
    below = [x for x in items if x[: len(key)] <= key][-1]
    if leaf:
        assert below[: len(key)] == key
        return struct.unpack("<II", below[len(key) :])
    return search(raw, struct.unpack("<Q", below[len(key) :])[0], key)


def test_extremes_of_float32(tmp_path):
    info = np.finfo(np.float32)
    some = np.array([info.max, info.min, info.tiny, info.smallest_subnormal, 0, -0.0, 1e-30], np.float32)
    values = np.tile(some, 64)
    track = write(tmp_path / "x.bw", Contigs({"a": len(values)}, "g"), {"a": values})
    back = track.values("a", 0, len(values), numpy=True)
    assert back.astype(np.float32).tobytes() == values.tobytes()
    assert track.header()["nLevels"] > 0
    assert track.stats("a", type="max") == [float(info.max)]
    assert track.stats("a", type="min") == [float(info.min)]
    assert np.isfinite(track.stats("a", nBins=2)).all()


def test_infinity_is_left_out(tmp_path):
    values = np.array([1, np.inf, -np.inf, np.nan, 2], np.float32)
    assert write(tmp_path / "x.bw", Contigs({"a": 5}, "g"), {"a": values}).intervals("a") == ((0, 1, 1.0), (4, 5, 2.0))


def test_contigs_up_to_the_limit_of_the_format(tmp_path):
    longest = 2**32 - 1
    positions = np.array([0, 2**31 - 1, 2**31, longest - 1])
    values = np.array([1, 2, 3, 4], np.float32)
    with BigWigWriter(tmp_path / "x.bw", Contigs({"a": longest}, "g")) as out:
        out.sparse("a", positions, values)
    track = pyBigWig.open(str(tmp_path / "x.bw"))
    assert track.chroms() == {"a": longest}
    assert [x[0] % 2**32 for x in track.intervals("a")] == positions.tolist()  # its numbers are signed
    assert track.values("a", 2**31 - 1, 2**31 + 1) == [2, 3]
    assert track.values("a", longest - 1, longest) == [4]
    with pytest.raises(MetaError, match="contig b is 4,294,967,296 bp"):
        BigWigWriter(tmp_path / "y.bw", Contigs({"a": 5, "b": 2**32}, "g"))
    assert not (tmp_path / "y.bw").exists()


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ([("b", 0, 5), ("a", 0, 5)], "out of order"),
        ([("a", 5, 5), ("a", 9, 5)], "out of order"),
        ([("a", 95, 6)], "beyond the contig"),
        ([("a", -1, 6)], "beyond the contig"),
    ],
)
def test_pieces_out_of_place(tmp_path, pieces, says):
    contigs = Contigs({"a": 100, "b": 100}, "g")
    with pytest.raises(ValueError, match=says), BigWigWriter(tmp_path / "x.bw", contigs) as out:
        for chrom, start, n in pieces:
            out.dense(chrom, start, np.ones(n, np.float32))
    with pytest.raises(MetaError, match="bigWig"):
        BigWig(tmp_path / "x.bw", contigs)


def test_positions_out_of_order(tmp_path):
    contigs = Contigs({"a": 100}, "g")
    for positions in ([3, 5, 5], [3, 7, 5], np.array([3, 7, 5], np.uint64)):
        with pytest.raises(ValueError, match="out of order"), BigWigWriter(tmp_path / "x.bw", contigs) as out:
            out.sparse("a", np.array(positions), np.ones(3, np.float32))


def test_nothing_but_the_file_is_seen(tmp_path):
    with BigWigWriter(tmp_path / "x.bw", Contigs({"a": 200_000}, "g")) as out:
        out.dense("a", 0, gappy(200_000))
        assert [p.name for p in tmp_path.iterdir()] == ["x.bw"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.bw"]


PEAK = """
import resource, sys
import numpy as np
from libmeta.bigwig_writer import BigWigWriter
from libmeta.contigs import Contigs
bases, piece = int(sys.argv[2]), 1 << 18
values = np.random.default_rng(1).random(piece).astype(np.float32)
with BigWigWriter(sys.argv[1], Contigs({"a": bases, "b": 1000}, "g")) as out:
    for at in range(0, bases, piece):
        out.dense("a", at, values[: bases - at])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_bases(tmp_path):
    """12 bytes a base, what a writer that holds the contig takes, would be 84 MB between the two."""

    def peak(bases: int) -> float:
        # started by a small process: ru_maxrss of a child begins with what its parent had
        start = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
        code = [sys.executable, "-c", PEAK, tmp_path / "x.bw", str(bases)]
        return int(subprocess.check_output([sys.executable, "-S", "-c", start, *code])) / 1024

    assert peak(8_000_000) - peak(1_000_000) < 3
