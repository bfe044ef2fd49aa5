"""Dense pieces and the dense stream: a brute-force oracle per base, contract of every modality with channels."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import random_sequence, write_fasta
from dense_case import GENES, INTRONS, MODALITIES, DenseWorld, index, random_sites
from evidence_case import LENGTHS
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import random_net, write_openspliceai

from libmeta import dense, dense_stream, modalities, streams
from libmeta.check import check_file
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.features import Window, open_readers
from libmeta.regions import Region, merge, widen

WITH_CHANNELS = [n for n in modalities.names() if hasattr(modalities.get(n), "CHANNELS")]
NAMES = ["conservation.phylop_score", "epigenetic.h3k36me3_max", "rbp_eclip.rbp_n_bound", "junction.junction_log1p"]
WINDOWS = [(-30, 120), (0, 4000), (480, 910), (700, 701), (1499, 2001), (3990, 4100), (4100, 4200), (-50, -10)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return DenseWorld(tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="module")
def opened(world):
    """(sources with labels, readers)."""
    sources = world.open(index(world, random_sites(world, 60)))
    return sources, open_readers(sources, list(MODALITIES), must=True)[0]


def same(a, b):
    assert a.dtype == b.dtype
    assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


# ---- modalities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_CHANNELS)
def test_contract_of_channels(world, opened, name):
    sources, readers = opened
    assert name in readers, f"give {name} a source in tests/dense_case.py"
    reader, known = readers[name], modalities.get(name).CHANNELS
    assert reader.channels
    assert set(reader.channels) <= set(known)
    assert not {c.name for c in known} & {"", *("." if "." in c.name else "" for c in known)}
    for strand in "+-":
        far = reader.dense(Window(sources, "c1", -60, 4250, strand))
        assert list(far) == [c.name for c in reader.channels]
        empty = reader.dense(Window(sources, "c3", 0, 900, strand))
        for channel in reader.channels:
            values = far[channel.name]
            assert values.dtype == np.float32
            assert values.shape == (4310,)
            assert not np.isinf(values).any()
            assert np.isnan(values[:60]).all()
            assert np.isnan(values[4060:]).all()
            assert np.isfinite(values).any()
            assert not channel.log1p or np.nanmin(values) >= 0
            assert empty[channel.name].shape == (900,)
        for low, high in WINDOWS:
            part = reader.dense(Window(sources, "c1", low, high, strand))
            for channel in far:
                same(part[channel], far[channel][low + 60 : high + 60])


def test_channels_are_those_of_the_sources(world):
    sources = world.open(wanted=("conservation",))
    sources.config.values["modalities"]["conservation"] = {"phastcons": "phastcons.bw"}
    readers, _ = open_readers(sources, ["conservation"], must=True)
    assert list(dense.channels(readers)) == ["conservation.phastcons_score"]


@pytest.mark.parametrize("labelled", [True, False])
def test_junction_channels_by_hand(world, opened, labelled):
    sources = opened[0] if labelled else world.open()
    reader = open_readers(sources, ["junction"], must=True)[0]["junction"]
    for strand in "+-":
        found = reader.dense(Window(sources, "c1", 0, 4000, strand))
        for pos in range(4000):
            sides = []
            for donor in (True, False):
                introns = [i for i in INTRONS if i[2] == strand and _end(i, donor) == pos]
                if introns:
                    by_tissue = [sum(i[3][t] for i in introns) for t in (0, 1)]
                    sides.append((np.log1p(sum(by_tissue)), float(max(by_tissue) >= 3)))
            measured = not labelled or any(
                g[0] == "c1" and g[3] == strand and g[5] and g[1] <= pos < g[2] for g in GENES
            )
            wanted = np.max(sides, axis=0) if sides else [0, 0] if measured else [np.nan, np.nan]
            got = [found[k][pos] for k in ("junction_log1p", "junction_has_support")]
            assert got == pytest.approx(wanted, nan_ok=True), (strand, pos)


def _end(intron, donor):
    start, end, strand, _ = intron
    return start - 1 if donor == (strand == "+") else end


# ---- pieces ---------------------------------------------------------------------------------------------------------


def expected(world, chrom, start, end, strand):
    """(codes, scores of two and one, phylop) base by base."""
    inside = [0 <= p < LENGTHS[chrom] for p in range(start, end)]
    codes = [int(world.codes[chrom][p]) if ok else 0 for p, ok in zip(range(start, end), inside, strict=True)]
    nothing = np.full(LENGTHS[chrom], np.nan)
    tracks = [t for m in ("two", "one") for t in world.scores[m][strand].get(chrom, (nothing, nothing))]
    tracks.append(world.tracks["phylop"].get(chrom, nothing))
    values = [[float(t[p]) if ok else np.nan for p, ok in zip(range(start, end), inside, strict=True)] for t in tracks]
    return np.array(codes, np.uint8), np.array(values, np.float32)


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize(
    "place", [("c1", 100, 400), ("c1", -40, 90), ("c1", 3950, 4030), ("c2", -5, 1720), ("c3", 10, 50)]
)
def test_piece_base_by_base(world, opened, place, strand):
    chrom, start, end = place
    piece = dense.read_piece(*opened, ["two", "one"], NAMES, chrom, start, end, strand)
    codes, values = expected(world, chrom, start, end, strand)
    same(piece.codes, codes)
    same(piece.base.reshape(4, -1), values[:4])
    same(piece.channels[0], values[4])
    assert piece.core.all()
    assert (piece.chrom, piece.start, piece.end, piece.strand) == (chrom, start, end, strand)


def test_channel_without_reader_is_unknown_and_a_wrong_name_an_error(opened):
    sources, readers = opened
    here = ("c1", 100, 200, "+")
    piece = dense.read_piece(sources, {}, [], ["conservation.phylop_score"], *here)
    assert np.isnan(piece.channels).all()
    assert piece.base.shape == (0, 2, 100)
    for name in ("nonsense.x", "conservation.x"):
        with pytest.raises(MetaError, match="unknown"):
            dense.read_piece(sources, readers, [], [name], *here)


regions = st.lists(
    st.tuples(st.sampled_from(["c1", "c2"]), st.integers(0, 1690), st.integers(1, 400), st.sampled_from("+-.")),
    min_size=1,
).map(lambda rows: [Region(c, s, min(s + n, LENGTHS[c]), strand) for c, s, n, strand in rows])


@settings(max_examples=20, deadline=None)
@given(regions, st.integers(0, 90), st.integers(1, 700))
def test_pieces_cover_each_base_once(world, opened, spans, flank, size):
    whole = {}
    for chrom in ("c1", "c2"):
        for strand in "+-":
            whole[chrom, strand] = dense.read_piece(*opened, ["one"], NAMES, chrom, -100, LENGTHS[chrom] + 100, strand)
    seen = {k: np.zeros(LENGTHS[k[0]], int) for k in whole}
    total, last = 0, None
    for piece, done in dense.pieces(*opened, ["one"], NAMES, spans, flank, size):
        reference = whole[piece.chrom, piece.strand].cut(piece.start, piece.end)
        for name in ("codes", "base", "channels"):
            same(getattr(piece, name), getattr(reference, name))
        core = np.flatnonzero(piece.core) + piece.start
        assert (core[0], core[-1] + 1) == (piece.start + flank, piece.end - flank)
        assert core[0] // size == core[-1] // size
        key = (piece.chrom, core[0] // size, core[0], piece.strand)
        assert last is None or key > last
        last, total = key, total + done
        seen[piece.chrom, piece.strand][core] += 1
        assert done == len(core)
    wanted = {k: np.zeros_like(v) for k, v in seen.items()}
    for r in merge(spans, opened[0].genome.contigs):
        wanted[r.chrom, r.strand][r.start : r.end] = 1
        total -= r.end - r.start
    assert total == 0
    for key, count in wanted.items():
        assert np.array_equal(seen[key], count)


# ---- the stream -----------------------------------------------------------------------------------------------------


class Rebatched:
    """A stream whose rows come in batches of another size."""

    def __init__(self, table, rows):
        self.metadata, self.schema, self.name = streams.read_metadata(table.schema), table.schema, "again"
        self._batches = iter(table.combine_chunks().to_batches(max_chunksize=rows))

    def __iter__(self):
        return self._batches


@pytest.fixture(scope="module")
def bed(world):
    world.write_config()
    (world.folder / "r.bed").write_text("c1\t0\t300\nc1\t350\t600\tx\t0\t-\nc1\t3800\t4000\nc2\t100\t200\tx\t0\t+\n")
    return [Region("c1", 0, 300), Region("c1", 350, 600, "-"), Region("c1", 3800, 4000), Region("c2", 100, 200, "+")]


def test_stream_there_and_back(world, opened, run, monkeypatch, bed):
    monkeypatch.chdir(world.folder)
    for name in ("d.arrow", "d.parquet"):
        run("ms-features", "--dense", "r.bed", "--flank", 40, "-o", name)
        assert check_file(name).startswith("dense version 1")
    stream = streams.open_table("d.arrow").expect("dense")
    meta, table = stream.metadata, stream.table()
    assert meta["modalities"]["present"] == ["base_scores", *sorted(MODALITIES)]
    assert {"annotation"} <= set(meta["modalities"]["absent"])
    assert meta["contigs"] == LENGTHS
    assert (meta["flank"], meta["regions_bp"]) == (40, 600 + 250 + 400 + 100)
    assert [m["name"] for m in meta["base_models"]] == ["one", "two"]
    names = [c["name"] for c in meta["channels"]]
    assert table.schema.names[-len(names) :] == names
    assert {c["name"]: c["log1p"] for c in meta["channels"]}["epigenetic.h3k4me3_max"] is True
    assert table.schema.names[5:9] == [f"base_scores.{n}" for n in ("donor", "acceptor", "two.donor", "two.acceptor")]
    assert not [n for n in table.schema.names if n.startswith("label")]
    assert pq.read_table("d.parquet").equals(table)
    readers = open_readers(world.open(), list(MODALITIES), must=True)[0]
    wanted = [p for p, _ in dense.pieces(world.open(), readers, ["one", "two"], names, bed, 40)]
    wanted = [p.cut(max(p.start, 0), min(p.end, LENGTHS[p.chrom])) for p in wanted]
    sources = [
        streams.open_table("d.arrow"),
        streams.open_table("d.parquet"),
        Rebatched(table, 7),
        Rebatched(table, 10**6),
    ]
    for source in sources:
        found = list(dense_stream.read(source))
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert (a.chrom, a.start, a.end, a.strand) == (b.chrom, b.start, b.end, b.strand)
            for name in ("codes", "core", "base", "channels"):
                same(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("flank", [0, 50])
def test_runs_end_at_the_grid(world, opened, monkeypatch, flank):
    """Cores that meet at a line of the grid stay two pieces, however the rows come."""
    monkeypatch.setattr(dense_stream, "GRID", 500)
    columns = dense_stream.columns(["one"], {})
    meta = streams.metadata("dense", 1, [], base_models=[{"name": "one"}], channels=[])
    form = dense_stream.pa.schema([c.field for c in columns]).with_metadata(meta)
    spans = [Region("c1", 300, 1800, "+")]
    made = [p for p, _ in dense.pieces(opened[0], {}, ["one"], [], spans, flank, 500)]
    table = dense_stream.pa.Table.from_batches([dense_stream.batch(p, form, 4000) for p in made])
    for rows in (64, 10_000):
        found = list(dense_stream.read(Rebatched(table, rows)))
        assert [(p.start, p.end) for p in found] == [(p.start, p.end) for p in made]


def test_without_base_scores_and_absent_modalities_are_declared(world, run, monkeypatch, bed):
    monkeypatch.chdir(world.folder)
    Path("bare.toml").write_text('[genome]\nfasta = "g.fa"\n[modalities.conservation]\nphylop = "phylop.bw"\n')
    run("ms-features", "--dense", "r.bed", "--config", "bare.toml", "-o", "b.arrow")
    check_file("b.arrow")
    stream = streams.open_table("b.arrow")
    assert stream.table().num_rows
    assert stream.metadata["modalities"]["present"] == ["conservation"]
    assert {"base_scores", "junction", "rbp_eclip"} <= set(stream.metadata["modalities"]["absent"])
    assert stream.schema.names[5:] == ["conservation.phylop_score"]
    assert stream.metadata["flank"] == 1000


def test_usage(world, run, monkeypatch, bed):
    monkeypatch.chdir(world.folder)
    run("ms-features", "r.bed", "--flank", 10, code=2, says="--flank without --dense")
    run("ms-features", "r.bed", "--dense", "--background", 1, code=2, says="it takes every base")


def test_a_wrong_dense_stream_is_found(world, opened, tmp_path):
    columns = dense_stream.columns(["one"], {})
    meta = streams.metadata("dense", 1, [{"tool": "t"}], base_models=[{"name": "one"}], channels=[])
    form = dense_stream.pa.schema([c.field for c in columns]).with_metadata(meta)
    piece = dense.read_piece(opened[0], {}, ["one"], [], "c1", 100, 200, "+")
    piece.codes[5] = 9
    with streams.Writer(tmp_path / "d.arrow", form) as out:
        out.write(dense_stream.batch(piece, form, 4000))
    with pytest.raises(MetaError, match=r"9 in sequence\.base"):
        check_file(tmp_path / "d.arrow")
    lacking = streams.metadata("dense", 1, [], base_models=[{"name": "one"}], channels=[{"name": "a.b"}])
    table = dense_stream.pa.Table.from_batches([dense_stream.batch(piece, form, 4000)]).replace_schema_metadata(lacking)
    with pytest.raises(MetaError, match=r"no column a\.b"):
        list(dense_stream.read(Rebatched(table, 50)))


def test_base_scores_of_flanks(run, tmp_path):
    (tmp_path / "w").mkdir()
    write_openspliceai(tmp_path / "w" / "m.pt", random_net(40, slope=0.1, eps=1e-5, seed=1))
    write_fasta(tmp_path / "g.fa", {"a": random_sequence(900)})
    Path("r.bed").write_text("a\t30\t50\tx\t0\t+\na\t700\t800\tx\t0\t-\n")
    where = ("r.bed", "--genome", "g.fa", "--model", "openspliceai", "--weights", "w")
    run("ms-basescore", *where, "--flank", "60", "-o", "s.parquet")
    rows = pq.read_table("s.parquet").to_pydict()
    wanted = [("+", p) for p in range(110)] + [("-", p) for p in range(640, 860)]
    assert list(zip(rows["strand"], rows["pos"], strict=True)) == wanted


def test_flank_of_base_scores_stays_on_the_contig():
    contigs = Contigs({"a": 100, "b": 50}, "g")
    found = widen([Region("a", 5, 20, "+"), Region("b", 30, 45)], 10, contigs)
    assert found == [Region("a", 0, 30, "+"), Region("b", 20, 50)]
