"""ms-shard and its reader: a brute-force oracle per base, labels, splits, scaling, determinism, resume, damage."""

import json
import os
import pickle
import signal
import subprocess
import time
import tracemalloc
from pathlib import Path

import h5py
import ms_shard
import numpy as np
import pyarrow as pa
import pytest
from conftest import tool
from dense_case import DenseWorld, index, random_sites, write
from evidence_case import LENGTHS
from hypothesis import given, settings
from hypothesis import strategies as st

from libmeta import dense, dense_stream, labels, recipes, schema, shard_labels, shard_writer, streams
from libmeta.check import check_file
from libmeta.errors import MetaError
from libmeta.features import open_readers
from libmeta.genome import reverse_complement
from libmeta.regions import Region, merge
from libmeta.scaling import Sample
from libmeta.shard_writer import Layout, ShardWriter, pack, stretches
from libmeta.shards import ARRAYS, PARTS, Shards
from libmeta.split import TEST, TRAIN, VALID, Split, parse

WANTED = ("conservation", "epigenetic", "junction")
SPANS = [Region("c1", 50, 1100), Region("c1", 1200, 2500, "-"), Region("c1", 2600, 4000), Region("c2", 100, 900, "-")]
SPLIT = (
    "--train",
    "c1:1-1000",
    "--train",
    "c1:1,301-2,000",
    "--valid",
    "c1:2,001-3,000",
    "--valid",
    "c2",
    "--test",
    "c1:3,001-4,000",
)
PARSED = parse(None, ("c1:1-1000", "c1:1,301-2,000"), ("c1:2,001-3,000", "c2"), ("c1:3,001-4,000",))
FLANK = 70


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = DenseWorld(tmp_path_factory.mktemp("shards"))
    (world.folder / "r.bed").write_text("".join(f"{r.chrom}\t{r.start}\t{r.end}\tx\t0\t{r.strand}\n" for r in SPANS))
    world.sites = random_sites(world, 200)
    write(world.folder / "s.parquet", world.sites)
    sources = world.open()
    readers, _ = open_readers(sources, list(WANTED), must=True)
    world.channels = dense.channels(readers)
    world.dense = _dense(world, sources, readers)
    names = ["one", "two"], list(world.channels)
    world.whole = {
        (c, s): dense.read_piece(sources, readers, *names, c, 0, LENGTHS[c], s) for c in ("c1", "c2") for s in "+-"
    }
    return world


def _dense(world, sources, readers):
    """d.arrow in the world's folder; its table."""
    form = schema.load("dense")
    meta = streams.metadata(
        form.name, form.version, [{"tool": "ms-features"}], modalities={"present": list(readers), "absent": ["rbp_eclip"]},
        channels=dense_stream.described(world.channels), base_models=[{"name": "one"}, {"name": "two"}], contigs=LENGTHS,
        flank=FLANK, grid=700, regions_bp=5000,
    )  # fmt: skip
    columns = dense_stream.columns(["one", "two"], world.channels)
    out = pa.schema([c.field for c in columns]).with_metadata(meta)
    with streams.Writer(world.folder / "d.arrow", out) as writer:
        for piece, _ in dense.pieces(sources, readers, ["one", "two"], list(world.channels), SPANS, FLANK, 700):
            writer.write(dense_stream.batch(piece, out, LENGTHS[piece.chrom]))
    return streams.open_table(world.folder / "d.arrow").table()


def make(world, folder, recipe="m1-s", split=PARSED, sites=None, bases=shard_writer.BASES, options=None, flank=FLANK):
    """Pack the world's dense stream in this process; the manifest's values that pack() gives."""
    table = world.sites if sites is None else sites
    found, stream = index(world, table), streams.open_table(world.folder / "d.arrow")
    chosen = recipes.get(recipe)
    labeller = shard_labels.Labeller(found, chosen, options or {})
    layout = Layout(list(LENGTHS), stream.metadata["base_models"], stream.metadata["channels"], [{"tool": "t"}])
    with ShardWriter(folder, layout, {"k": 1}, bases) as writer:
        packed = pack(dense_stream.read(stream), labeller, split, layout, flank, writer, "d.arrow", lambda n: None)
        scaled = [{**c, "centre": s[0], "scale": s[1]} for c, s in zip(layout.channels, packed.scales, strict=True)]
        writer.manifest({
            "files": packed.files, "counts": packed.counts, "channels": scaled, "base_models": layout.base_models, "rule": {},
            "modalities": {}, "recipe": chosen.labels, "split": {}, "flank": flank, "provenance": [{"tool": "t"}],
        })  # fmt: skip
    return Shards(folder)


def every(chrom):
    return np.arange(LENGTHS[chrom])


def oracle(world, chrom, strand, label, weight, part, table=None):
    """The arrays of a whole strand for a part, genome orientation, from the sources."""
    piece = world.whole[chrom, strand]
    core = np.zeros(LENGTHS[chrom], bool)
    for r in merge(SPANS, world.genome.contigs):
        if (r.chrom, r.strand) == (chrom, strand):
            core[r.start : r.end] = True
    mine = core & (PARSED.assign(chrom, every(chrom)) == PARTS[part])
    channels = [np.log1p(v) if c.log1p else v for v, c in zip(piece.channels, world.channels.values(), strict=True)]
    tier = facts(world, chrom, strand, table).tier
    return {
        "tier": np.where(mine & ~np.isnan(tier), tier, 255).astype(np.uint8),
        "sequence": piece.codes, "base": piece.base, "channels": np.array(channels).astype(np.float16).astype(np.float32),
        "label": np.where(mine, label, 2).astype(np.uint8), "weight": np.where(mine, weight, 0).astype(np.float32),
    }  # fmt: skip


def facts(world, chrom, strand, table=None):
    found = index(world, world.sites if table is None else table).facts(chrom, strand, every(chrom))
    return labels.Facts(found["site"], found["tier"], found["reads"], found["psi"], found["measured"])


def compare(world, shards, rule, table=None):
    """Every region of the shards against the oracle, and no base that counts twice or not at all."""
    for part in PARTS:
        wanted = {key: oracle(world, *key, *rule(*key, part), part, table) for key in world.whole}
        counted = {key: np.zeros(LENGTHS[key[0]], np.float32) for key in world.whole}
        for region in shards.regions(part):
            found = shards.read(region, 0, region.length)
            counts = found["weight"] > 0
            for name, values in wanted[region.chrom, region.strand].items():
                cut = values[..., region.start : region.end]
                if region.strand == "-":
                    cut = reverse_complement(cut) if name == "sequence" else cut[..., ::-1]
                assert found[name].dtype == cut.dtype
                # what is flank here may be core of another region
                here = counts if name in ("label", "weight", "tier") else np.ones(region.length, bool)
                assert np.array_equal(found[name][..., here], cut[..., here], equal_nan=name in ("base", "channels")), (
                    name
                )
            position = np.arange(region.start, region.end)[:: 1 if region.strand == "+" else -1]
            mine = counted[region.chrom, region.strand]
            assert not mine[position[counts]].any()
            mine[position] += found["weight"]
        for key, values in counted.items():
            assert np.array_equal(values, wanted[key]["weight"]), (key, part)


# ---- content --------------------------------------------------------------------------------------------------------


def test_m1_base_by_base_with_alternative_sites_in_training_only(world, tmp_path):
    shards = make(world, tmp_path / "s")

    def rule(chrom, strand, part):
        known = facts(world, chrom, strand)
        label, weight = labels.m1(known)
        alternative = (known.site < 2) & (known.tier > 0) & (known.tier < 3)
        return label, np.where(alternative, 0.5, weight) if part == "train" else weight

    compare(world, shards, rule)
    for part in PARTS:
        for region in shards.regions(part):
            assert region.length == region.end - region.start
            arrays = shards.read(region, 0, region.length)
            assert set(arrays) == set(ARRAYS)
            outside = PARSED.assign(region.chrom, np.arange(region.start, region.end)) != PARTS[part]
            outside = outside[:: 1 if region.strand == "+" else -1]
            assert (arrays["weight"][outside] == 0).all()
            assert (arrays["label"][outside] == 2).all()
            assert arrays["weight"][0] == 0 or region.start == 0 or region.end == LENGTHS[region.chrom]


def test_m3_base_by_base_with_the_reference_in_training_only(world, tmp_path):
    options = {"reference": (0, 1), "min_support": 4, "min_psi": 0.1}
    shards = make(world, tmp_path / "s", "m3-s", options=options)

    def rule(chrom, strand, part):
        known = facts(world, chrom, strand)
        label, weight = labels.m3(known, **options)
        if part == "train":
            kind, counts = labels.m3(known, **{**options, "reference": ()})
            kept = np.isin(known.tier, (0, 1)) & (counts > 0) & (kind < 2)
            label, weight = np.where(kept, kind, label), np.where(kept, np.float32(0.5), weight)
        return label, weight

    compare(world, shards, rule)
    weights = np.concatenate([shards.labels(r, 0, r.length)[1] for r in shards.regions("train")])
    assert {0, 0.5, 1} == set(np.unique(weights).tolist())
    assert 0.5 not in np.concatenate([shards.labels(r, 0, r.length)[1] for r in shards.regions("valid")])


def test_sites_that_a_part_masks_keep_class_and_tier(world, tmp_path):
    shards = make(world, tmp_path / "s")
    for part in PARTS:
        wanted, found = set(), set()
        for chrom, strand in world.whole:
            known = facts(world, chrom, strand)
            core = oracle(world, chrom, strand, known.site, np.ones(LENGTHS[chrom]), part)["weight"] > 0
            at = np.flatnonzero(core & (known.site < 2))
            wanted |= {(chrom, strand, i, int(known.site[i]), int(known.tier[i])) for i in at.tolist()}
        for region in shards.regions(part):
            arrays = shards.read(region, 0, region.length)
            at = np.flatnonzero(arrays["tier"] != 255)
            place = region.start + at if region.strand == "+" else region.end - 1 - at
            columns = (place, arrays["label"][at], arrays["tier"][at])
            found |= {(region.chrom, region.strand, *(int(v) for v in row)) for row in zip(*columns, strict=True)}
            masked = arrays["weight"][at] == 0
            assert (arrays["tier"][at][masked] > 0).all()
            assert part == "train" or masked[(arrays["tier"][at] > 0)].all()
        assert found == wanted
        assert {tier for *_, tier in wanted} >= {0, 1, 2}


@pytest.mark.parametrize("recipe", ["m1", "m3"])
def test_labels_of_the_table_are_kept(world, tmp_path, recipe):
    table = random_sites(world, 80, 3, recipe)
    shards = make(world, tmp_path / "s", f"{recipe}-s", sites=table, options={"given": True})
    if recipe == "m3":
        return  # what m3 adds for training is in the test before
    found = {}
    for chrom in ("c1", "c2"):
        for strand in "+-":
            f = index(world, table).facts(chrom, strand, every(chrom))
            site = f["site"] < 2
            found[chrom, strand] = np.where(site, f["label"], 2), np.where(site, f["weight"], 1).astype(np.float32)
    compare(world, shards, lambda c, s, part: found[c, s], table)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=80), st.integers(0, 9))
def test_stretches(mask, flank):
    found = stretches(np.array(mask), flank)
    near = [any(mask[max(i - flank, 0) : i + flank + 1]) for i in range(len(mask))]
    inside = np.zeros(len(mask), int)
    for low, high in found:
        inside[low:high] += 1
        assert any(mask[low:high])
    assert inside.tolist() == [int(v) for v in near]


def test_reading_beyond_a_region_and_in_part(world, tmp_path):
    shards = make(world, tmp_path / "s", bases=3000)
    assert len(shards.manifest["files"]) > 1
    for part in PARTS:
        for region in shards.regions(part):
            whole = shards.read(region, 0, region.length)
            far = shards.read(region, -50, region.length + 60)
            for name, nothing in ARRAYS.items():
                inside = far[name][..., 50:-60]
                assert np.array_equal(inside, whole[name], equal_nan=inside.dtype.kind == "f")
                edge = np.concatenate([far[name][..., :50], far[name][..., -60:]], axis=-1)
                assert np.isnan(edge).all() if nothing is np.nan else (edge == nothing).all()
                for low, high in (
                    (10, 40),
                    (-90, -20),
                    (-9, 5),
                    (region.length - 3, region.length + 9),
                    (region.length + 5,) * 2,
                ):
                    part_of = shards.read(region, low, high)[name]
                    assert part_of.shape[-1] == high - low
            label, weight = shards.labels(region, -50, region.length + 60)
            assert np.array_equal(label, far["label"])
            assert np.array_equal(weight, far["weight"])
        at, position, label = shards.sites(part)
        brute = [
            (i, int(p), int(a["label"][p]))
            for i, r in enumerate(shards.regions(part))
            for a in [shards.read(r, 0, r.length)]
            for p in np.flatnonzero((a["label"] != 2) & (a["weight"] > 0))
        ]
        assert list(zip(at.tolist(), position.tolist(), label.tolist(), strict=True)) == brute
        counts = shards.manifest["counts"][part]
        assert counts["donor"] + counts["acceptor"] == len(brute) > 0
        total = sum((shards.labels(r, 0, r.length)[1] > 0).sum() for r in shards.regions(part))
        assert counts["donor"] + counts["acceptor"] + counts["neither"] == total
    copy = pickle.loads(pickle.dumps(shards))
    region = shards.regions("train")[0]
    assert np.array_equal(copy.read(region, 0, 9)["sequence"], shards.read(region, 0, 9)["sequence"])
    before = shards.read(region, 0, 200)
    wanted = ["junction.junction_log1p", "conservation.phylop_score"]
    rows = [[c["name"] for c in shards.channels].index(n) for n in wanted]
    shards.take(["two"], wanted)
    after = shards.read(region, 0, 200)
    assert np.array_equal(after["base"], before["base"][1:], equal_nan=True)
    assert np.array_equal(after["channels"], before["channels"][rows], equal_nan=True)
    assert [c["name"] for c in shards.channels] == wanted


def test_scaling_sees_the_training_core_only(world, tmp_path):
    shards = make(world, tmp_path / "s")
    rows = world.dense.to_pydict()
    chrom, pos, core = (np.array(rows[k]) for k in ("chrom", "pos", "core"))
    train = np.zeros(len(pos), bool)
    for name in LENGTHS:
        train[chrom == name] = PARSED.assign(name, pos[chrom == name]) == TRAIN
    for channel in shards.channels:
        values = np.array(rows[channel["name"]], np.float32)[core & train]
        values = values[~np.isnan(values)]
        values = np.log1p(values) if channel["log1p"] else values
        low, middle, high = np.percentile(values.astype(float), [25, 50, 75])
        assert channel["centre"] == pytest.approx(middle, rel=1e-5, abs=1e-7)
        assert channel["scale"] == pytest.approx(high - low or values.std(dtype=float) or 1, rel=1e-4)
        named = {"name", "modality", "log1p", "centre", "scale"}
        assert set(channel) == named | ({"in_genes"} if channel["modality"] == "junction" else set())


def test_scaling_does_not_depend_on_the_regions_cuts(world, tmp_path, monkeypatch):
    monkeypatch.setattr(dense_stream, "GRID", 333)
    a = make(world, tmp_path / "a").manifest
    monkeypatch.setattr(dense_stream, "GRID", 1 << 18)
    b = make(world, tmp_path / "b", bases=2000).manifest
    assert a["channels"] == b["channels"]
    assert a["counts"] == b["counts"]


def test_values_that_do_not_fit():
    channels = [{"name": "a.x", "log1p": True}, {"name": "a.y", "log1p": False}]
    ok = np.array([[0, 1e9, np.nan], [-3, np.nan, 60_000]], np.float32)
    assert np.array_equal(shard_writer.prepare(ok, channels, "d")[0], np.log1p(ok[0]), equal_nan=True)
    for bad in ([[-2, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 70_000, 0]], [[-1, 0, 0], [0, 0, 0]]):
        with pytest.raises(MetaError, match="float16, d"):
            shard_writer.prepare(np.array(bad, np.float32), channels, "d")


# ---- the tool -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shard(world, run, tmp_path):
    """shard(*arguments, **run options) in a fresh folder with d.arrow and s.parquet."""
    for name in ("d.arrow", "s.parquet"):
        os.link(world.folder / name, tmp_path / name)

    def call(*arguments, **options):
        return run("ms-shard", *arguments, "--labels", "s.parquet", "--recipe", "m1-s", *SPLIT, "-o", "out", **options)

    return call


COMMAND = ["-", "--labels", "s.parquet", "--recipe", "m1-s", *SPLIT, "-o", "out", "--bases", "2000"]


def test_killed_and_given_again_gives_the_same_bytes(world, shard, run, tmp_path):
    raw = (tmp_path / "d.arrow").read_bytes()
    run("ms-shard", *COMMAND, stdin=raw)
    once = {p.name: p.read_bytes() for p in Path("out").iterdir()}
    assert len(once) > 4
    (tmp_path / "again").mkdir()
    os.chdir(tmp_path / "again")
    os.link("../s.parquet", "s.parquet")
    child = subprocess.Popen([*tool("ms-shard"), *COMMAND], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdin.write(raw[: int(len(raw) * 0.8)])
    child.stdin.flush()
    until = time.monotonic() + 60
    while not _finished():
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdin.close()
    done = {name: os.stat(f"out/{name}").st_ino for name in _finished()}
    with pytest.raises(MetaError, match="unfinished shards"):
        Shards("out")
    run("ms-shard", *COMMAND[:-1], "1999", stdin=raw, code=1, says="unfinished shards of another command")
    assert set(done) <= {p.name for p in Path("out").iterdir()}
    run("ms-shard", *COMMAND, stdin=raw)
    assert {p.name: p.read_bytes() for p in Path("out").iterdir()} == once
    assert {name: os.stat(f"out/{name}").st_ino for name in done} == done


def _finished():
    path = Path("out/manifest.partial")
    return [f["name"] for f in json.loads(path.read_text())["files"]] if path.exists() else []


def test_another_input_after_a_kill_is_found(world, tmp_path):
    layout = Layout(["c1"], [], [], [])
    arrays = {"sequence": np.ones(5, "u1"), "base": np.zeros((0, 2, 5), "f4"), "channels": np.zeros((0, 5), "f2"),
              "label": np.ones(5, "u1"), "weight": np.ones(5, "f4"), "tier": np.zeros(5, "u1")}  # fmt: skip
    piece = dense.Piece("c1", 0, 5, "+", arrays["sequence"], np.ones(5, bool), arrays["base"], arrays["channels"])
    writer = ShardWriter(tmp_path / "s", layout, {}, 5)
    writer.add(piece, 0, 0, arrays)
    writer.add(piece, 0, 0, arrays)  # the first file is finished now; then a kill
    assert (tmp_path / "s" / "shard-00000.h5").exists()
    writer._file.abandon()
    with pytest.raises(MetaError, match="not what it was"), ShardWriter(tmp_path / "s", layout, {}, 5) as again:
        again.add(piece, 0, 0, {**arrays, "label": np.zeros(5, "u1")})
        again.close()
    assert not (tmp_path / "s").exists()


def test_truncated_stream_leaves_nothing_that_looks_whole(shard, tmp_path):
    raw = (tmp_path / "d.arrow").read_bytes()
    shard("-", stdin=raw[: len(raw) // 2], code=4, says="input cut short")
    assert not Path("out").exists()
    shard("-", "--bases", 1000, stdin=raw[: len(raw) * 3 // 4], code=4, says="input cut short")
    assert not Path("out/manifest.json").exists()
    with pytest.raises(MetaError, match="unfinished shards"):
        Shards("out")
    assert not list(Path("out").glob(".*"))
    shard("-", stdin=b"", code=4, says="empty input")


def test_check_finds_damage_in_one_line(shard, run, tmp_path):
    shard("d.arrow")
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["modalities"] == {"present": list(WANTED), "absent": ["rbp_eclip"]}
    assert manifest["split"] == PARSED.describe()
    assert (manifest["recipe"], manifest["flank"]) == ("m1", FLANK)
    assert [s["tool"] for s in manifest["provenance"]] == ["ms-features", "ms-labels", "ms-shard"]
    assert not [c for c in manifest["channels"] if c["modality"] == "rbp_eclip"]
    assert check_file("out/manifest.json").startswith("shards version 2")
    path = Path("out/shard-00000.h5")
    assert check_file(path).startswith("shards version 2")
    with h5py.File(path) as file:
        assert json.loads(file.attrs["contigs"]) == list(LENGTHS)
        assert file["channels"].fletcher32
        assert file["sequence"].chunks == (1 << 14,)
    run("ms-shard", "--check", "out")
    raw = bytearray(path.read_bytes())
    offset = h5py.File(path)["base"].id.get_chunk_info(0)
    raw[offset.byte_offset + 50] ^= 255
    path.write_bytes(raw)
    run("ms-shard", "--check", "out", code=1, says="damaged shard, out/shard-00000.h5: its sha256")
    shards = Shards("out")
    with pytest.raises(MetaError, match="damaged shard"):
        shards.read(shards.regions("train")[0], 0, 100)
    with pytest.raises(MetaError, match="damaged shard"):
        check_file(path)
    path.write_bytes(raw[:-100])
    run("ms-shard", "--check", "out", code=1, says="damaged shard")
    path.unlink()
    run("ms-shard", "--check", "out", code=1, says="no such shard")
    run("ms-shard", "--check", "nowhere", code=1, says="no shards (manifest.json), nowhere")


def test_usage(shard, run):
    run("ms-shard", "d.arrow", "-o", "out", code=2, says="no --labels")
    shard("d.arrow", "--min-support", 5, code=2, says="--min-support is for labels of m3")


def packed(labels, output, recipe="m1-s", split=PARSED):
    rule = dict.fromkeys(("reference", "min_support", "min_psi"))
    with streams.open_input("d.arrow") as handle:
        ms_shard._pack(streams.open_table("d.arrow", handle), labels, recipe, split, None, output, rule, {})


def test_wrong_labels_leave_nothing(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.link(world.folder / "d.arrow", "d.arrow")
    write(Path("s.parquet"), world.sites)
    at = world.sites.schema.get_field_index("pos")
    shifted = world.sites.set_column(
        at, world.sites.schema.field(at), pa.array([p + 7 for p in world.sites["pos"].to_pylist()])
    )
    write(Path("shifted.parquet"), shifted)
    meta = {**streams.read_metadata(world.sites.schema), "genes": [["c2", 0, 1701, "+", "g", True, 0, 1701]]}
    long = {f"ms.{k}".encode(): json.dumps(v).encode() for k, v in meta.items()}
    write(Path("long.parquet"), world.sites.replace_schema_metadata(long))
    with pytest.raises(MetaError, match="beside a splice dinucleotide"):
        packed("shifted.parquet", "out")
    with pytest.raises(MetaError, match="gene g ends past c2"):
        packed("long.parquet", "out")
    with pytest.raises(MetaError, match="no recipe, neither"):
        packed("s.parquet", "out", None)
    with pytest.raises(MetaError, match="no base of the training part") as error:
        packed("s.parquet", "out", split=parse(None, ("c3",), (), ()))
    assert error.value.code == 3
    assert not Path("out").exists()
    Path("used").mkdir()
    Path("used/manifest.json").write_text("{}")
    with pytest.raises(MetaError, match="holds something else"):
        packed("s.parquet", "used")
    assert [p.name for p in Path("used").iterdir()] == ["manifest.json"]
    packed("s.parquet", "out")
    assert {p.name for p in Path("out").iterdir()} == {"manifest.json", "shard-00000.h5"}


def test_finished_shards_are_made_anew(world, tmp_path):
    first = make(world, tmp_path / "s", bases=1500)
    bases = first.check()
    names = {p.name for p in (tmp_path / "s").iterdir()}
    second = make(world, tmp_path / "s")
    assert len(names) > len({p.name for p in (tmp_path / "s").iterdir()}) == 1 + len(second.manifest["files"])
    assert second.check() == bases > 0


def test_memory_does_not_grow_with_the_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "BLOCK", 1 << 16)
    monkeypatch.setattr(shard_writer, "Sample", lambda channels: Sample(channels, 10_000))
    size = 1 << 16
    layout = Layout(["c1"], [{"name": "one"}], [{"name": "a.x", "log1p": False}], [])

    def pieces(n):
        for i in range(n):
            core = np.ones(size, bool)
            base, channels = np.zeros((1, 2, size), np.float32), np.zeros((1, size), np.float32)
            yield dense.Piece(
                "c1", i * size, (i + 1) * size, "+-"[i % 2], np.ones(size, np.uint8), core, base, channels
            )

    def plain(piece):
        n = piece.end - piece.start
        return np.full(n, 2, np.uint8), np.ones(n, np.float32), np.zeros(n, bool), np.full(n, 255, np.uint8)

    peaks = []
    for n in (6, 30):
        tracemalloc.start()
        with ShardWriter(tmp_path / f"s{n}", layout, {}, 1 << 30) as writer:
            pack(
                pieces(n),
                plain,
                Split(test=(("c9", 0, None),), valid=(("c8", 0, None),)),
                layout,
                0,
                writer,
                "d",
                lambda n: None,
            )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + (1 << 20)


def test_test_bases_are_at_most_flank(world, tmp_path):
    shards = make(world, tmp_path / "s")
    for part in PARTS:
        for region in shards.regions(part):
            assigned = PARSED.assign(region.chrom, np.arange(region.start, region.end))
            own = np.flatnonzero(assigned == PARTS[part])
            others = np.flatnonzero(assigned != PARTS[part])
            assert len(own)
            assert all(np.abs(own - i).min() <= FLANK for i in others.tolist())
            assert (assigned == TEST).sum() <= 2 * FLANK
    assert {TRAIN, VALID} == set(PARTS.values())
