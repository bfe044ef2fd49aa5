"""ms-predict with sequence models: the network's own numbers at every base, however regions, pieces and strands are cut."""

import json
import logging
import signal
import sys
import tomllib
from pathlib import Path

import ms_predict
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyBigWig
import pytest
import torch
from conftest import random_sequence, write_fasta
from evaluation_case import sites_table, write
from safetensors.torch import save_file
from torch import nn

from libmeta import config as settings
from libmeta import models, predict, predict_sequence, streams
from libmeta.check import check_file
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.features import Window
from libmeta.genome import Genome, decode, encode, reverse_complement
from libmeta.inputs import scored_regions
from libmeta.models.file import SequenceModel
from libmeta.predict_sequence import Refiner, open_sources, score
from libmeta.regions import Region
from libmeta.tracks import BigWig, ScoreTracks, ScoreWriter

LENGTHS = {"a": 9000, "b": 700}
UNSCORED = (4000, 5500)  # of contig a: a run of N, without base scores
SMALL = {"hidden": 16, "kernel": 5, "sequence_dilations": [1, 4], "channel_dilations": [1], "fusion_dilations": [4]}
CHANNELS = [
    ("conservation.phylop_score", 0.5, 2.0),
    ("conservation.phastcons_score", 0.1, 0.5),
    ("junction.junction_log1p", 0.0, 1.0),
    ("junction.junction_has_support", 0.0, 1.0),
]
SHA = "ab" * 32
TOML = """[genome]
fasta = "g.fa"
[base_scores.toy]
prefix = "base"
[modalities.conservation]
phylop = "phylop.bw"
phastcons = "phastcons.bw"
[modalities.junction]
files = {liver = "j.SJ.out.tab"}
"""


# ---- a small world --------------------------------------------------------------------------------------------------


def world(folder: Path, mirrored: bool = False) -> Path:
    """Genome, base scores, two conservation tracks and junctions on both strands; or all of it seen from the other end."""
    rng = np.random.default_rng(3)
    texts = {name: random_sequence(length, i) for i, (name, length) in enumerate(LENGTHS.items())}
    low, high = UNSCORED
    texts["a"] = texts["a"][:low] + "N" * (high - low) + texts["a"][high:]
    tracks = {
        name: {c: rng.normal(1, 2, n).astype("f4") for c, n in LENGTHS.items()} for name in ("phylop", "phastcons")
    }
    tracks["phylop"]["a"][2000:2500] = np.nan
    scores = {(c, s): rng.dirichlet([0.1, 0.1, 1], n).astype("f4").T[:2] for c, n in LENGTHS.items() for s in "+-"}
    for strand in "+-":
        scores["a", strand][:, low:high] = np.nan
    introns = [(301, 500, 1, 7), (1201, 1500, 2, 30), (301, 900, 1, 2)]
    if mirrored:
        texts = {c: decode(reverse_complement(encode(t))) for c, t in texts.items()}
        tracks = {name: {c: v[::-1] for c, v in values.items()} for name, values in tracks.items()}
        scores = {(c, s): scores[c, "-" if s == "+" else "+"][:, ::-1] for c, s in scores}
        introns = [(9001 - e, 9001 - s, 3 - strand, n) for s, e, strand, n in introns]
    write_fasta(folder / "g.fa", texts)
    for name, values in tracks.items():
        write_track(folder / f"{name}.bw", values)
    with ScoreWriter(folder / "base", Contigs(LENGTHS, "g.fa"), {"model": {"name": "toy", "sha256": SHA}}) as out:
        for (chrom, strand), values in scores.items():
            out.dense(chrom, 0, strand, *values)
    lines = [f"a\t{s}\t{e}\t{strand}\t1\t1\t{n}\t0\t30\n" for s, e, strand, n in introns]
    (folder / "j.SJ.out.tab").write_text("".join(lines))
    (folder / "ms.toml").write_text(TOML)
    return folder


def write_track(path: Path, values: dict[str, np.ndarray]) -> None:
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(LENGTHS.items()))
        for chrom, track in values.items():
            at = np.flatnonzero(np.isfinite(track))
            if len(at):
                file.addEntries(chrom, at, values=track[at].astype(float), span=1)


def random_network(kind="meta", seed=1, **changes) -> nn.Module:
    """A network whose every weight counts: random heads and norms, as after training."""
    torch.manual_seed(seed)
    counts = {"base_models": 1, "channels": len(CHANNELS), "masks": 2}
    network = models.build(kind, {**(SMALL if kind == "meta" else {"hidden": 16, "window": 101}), **counts, **changes})
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand_like(value) + 0.5)
        elif "head.last" in name or ("norm" in name and value.is_floating_point()):
            value.copy_(torch.randn_like(value))
    return network.eval()


def sequence_model(network=None, **changes) -> SequenceModel:
    network = random_network() if network is None else network
    channels = [
        {"name": n, "modality": n.split(".")[0], "log1p": n == "conservation.phastcons_score", "centre": c, "scale": s}
        for n, c, s in CHANNELS[: network.config.channels]
    ]
    values = {
        "config": network.config.to_dict(), "kind": network.kind, "recipe": "m1-s", "target": "class",
        "base_models": [{"name": "toy", "sha256": SHA, "trained_on": ["chr2"], "licence": "none"}][: network.config.base_models],
        "channels": channels, "modalities": list(dict.fromkeys(c["modality"] for c in channels)), "is_base": False,
        "prior": [0.0, 0.0, 0.0], "split": {"train": [["a", 0, 9]]}, "training": {}, "state": network.state_dict(),
        "provenance": [{"tool": "ms-train", "version": "1", "arguments": [], "inputs": {}}],
    }  # fmt: skip
    return SequenceModel(**{**values, **changes})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return world(tmp_path)


@pytest.fixture
def saved(here):
    """The world with m.safetensors in it."""
    (here / "m.safetensors").write_bytes(sequence_model().to_bytes())
    return here


@pytest.fixture
def told(saved, capfd):
    """told(*arguments, code=0, says=None): ms-predict -m m.safetensors ..., in this process: quick, for many calls."""
    log, hook, term = logging.getLogger("libmeta"), sys.excepthook, signal.getsignal(signal.SIGTERM)
    before = log.handlers[:], log.propagate, log.level

    def call(*arguments, code=0, says=None, model="m.safetensors"):
        try:
            ms_predict.main(["-m", model, "--threads", "1", *map(str, arguments)])
            left = 0
        except SystemExit as end:
            left = end.code
        lines = capfd.readouterr().err.splitlines()
        assert left == code, lines
        errors = [line for line in lines if "error: " in line]
        assert len(errors) == bool(code) and (says or "") in "".join(lines), lines

    yield call
    sys.excepthook = hook
    signal.signal(signal.SIGTERM, term)
    log.handlers[:], log.propagate = before[:2]
    log.setLevel(before[2])


WHOLE = [Region(c, 0, n) for c, n in LENGTHS.items()]


def scored(model, folder=Path(), regions=WHOLE, size=3000, without=(), **options) -> dict:
    """{(chrom, strand): refined (length, 3), NaN where not asked for} through the library."""
    config = settings.load(str(folder / "ms.toml"))
    sources, readers = open_sources(model, config, Genome(folder / "g.fa"), without)
    out = {(c, s): np.full((n, 3), np.nan, np.float32) for c, n in LENGTHS.items() for s in "+-"}
    for cell, _ in score(Refiner(model, **{"threads": 1, **options}), sources, readers, regions, size):
        for part in cell:
            here = slice(part.start, part.start + len(part.refined))
            out[part.chrom, part.strand][here][part.core] = part.refined[part.core]
    return out


def agree(one: dict, other: dict, within=1e-5):
    for key, values in one.items():
        assert (np.isnan(values) == np.isnan(other[key])).all(), key
        assert np.nan_to_num(values) == pytest.approx(np.nan_to_num(other[key]), abs=within), key


def expected(model, folder=Path()) -> dict:
    """Every base in one call of the plain module on inputs put together here: the oracle."""
    network, out = model.network(), {}
    context, contigs = network.context, Contigs(LENGTHS, "g.fa")
    genome, tracks = Genome(folder / "g.fa"), ScoreTracks(folder / "base", contigs)
    files = {t: BigWig(folder / f"{t}.bw", contigs) for t in ("phylop", "phastcons")}
    for chrom, length in LENGTHS.items():
        pad = ((0, 0), (context, context))
        for strand in "+-":
            codes = np.pad(genome.codes(chrom, 0, length, strand), context)
            sequence = np.stack([codes == k for k in (1, 2, 3, 4)]).astype("f4")
            donor, acceptor = tracks.read(chrom, 0, length, strand)
            known = np.isfinite(donor)
            p = np.log(np.clip(np.stack([donor, acceptor, 1 - donor - acceptor]), 1e-7, 1))
            p = np.pad(np.where(known, p, np.log(1 / 3)), pad, constant_values=np.log(1 / 3))
            raw = [files[t].values(chrom, 0, length) for t in ("phylop", "phastcons")]
            raw[1] = np.log1p(np.where(raw[1] > -1, raw[1], np.nan))
            raw += list(junction_channels(chrom, strand, length))
            x = np.stack([(v - centre) / width for v, (_, centre, width) in zip(raw, CHANNELS, strict=True)])
            masks = np.stack([np.isfinite(x[:2]).any(axis=0), np.isfinite(x[2:]).any(axis=0)]).astype("f4")
            turned = (np.pad(v, pad)[:, :: -1 if strand == "-" else 1] for v in (np.nan_to_num(x), masks))
            p = p[:, ::-1] if strand == "-" else p
            inputs = (torch.tensor(np.ascontiguousarray(v), dtype=torch.float32)[None] for v in (sequence, p, *turned))
            with torch.inference_mode():
                found = torch.softmax(network(*inputs)[0], 1).numpy()
            out[chrom, strand] = np.where(known[:, None], found[:: -1 if strand == "-" else 1], np.nan)
    return out


def test_silence_means_what_it_meant_in_training(tmp_path):
    """With genes known, no read counts as 0 in measured genes only; the channel tells, and prediction does the same."""
    folder = world(tmp_path)
    (folder / "a.gtf").write_text(
        "".join(
            f'a\tx\texon\t{s}\t{e}\t.\t+\t.\tgene_id "g"; transcript_id "t";\n' for s, e in ((201, 300), (501, 600))
        )
    )
    toml = TOML + '[annotation]\ntiers = [{name = "all", gtf = "a.gtf"}]\n'
    genome = Genome(folder / "g.fa")

    def silent(in_genes, annotated):
        told = {} if in_genes is None else {"in_genes": in_genes}
        model = sequence_model()
        model.channels = [c | told if c["modality"] == "junction" else c for c in model.channels]
        config = settings.Config(tomllib.loads(toml if annotated else TOML), folder / "ms.toml")
        labels = scored_regions(None, ("a",), config, genome, True)[1]
        sources, readers = open_sources(model, config, genome, labels=labels)
        dense = readers["junction"].dense(Window(sources, "a", 0, 9000, "+"))
        return int((dense["junction_log1p"] == 0).sum())

    everywhere, inside = silent(False, False), silent(True, True)
    assert 300 < inside < 400 < 8000 < everywhere
    assert silent(False, True) == everywhere  # the model knows no genes: they do not count
    assert silent(None, True) == inside  # a model that does not tell: as before
    with pytest.raises(MetaError, match=r"no genes, \[annotation\] in .*ms.toml; .* predict --without junction"):
        silent(True, False)


def junction_channels(chrom, strand, length):
    log1p, support = np.full((2, length), 0.0 if chrom == "a" else np.nan)
    for (_, pos), reads in {("+", 299): 9, ("+", 500): 7, ("+", 900): 2, ("-", 1199): 30, ("-", 1500): 30}.items():
        at = {("+", 299), ("+", 500), ("+", 900)} if strand == "+" else {("-", 1199), ("-", 1500)}
        if chrom == "a" and (strand, pos) in at:
            log1p[pos], support[pos] = np.log1p(reads), reads >= 3
    return log1p, support


def rows(path):
    check_file(Path(path))
    table = pq.read_table(path)
    return {f.name: table[f.name].to_numpy() for f in table.schema}


def as_rows(found: dict) -> tuple[list, np.ndarray]:
    keys = [(c, p, s) for c, n in LENGTHS.items() for p in range(n) for s in "+-"]
    return keys, np.array([found[c, s][p] for c, p, s in keys])


# ---- the numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [random_network(), random_network("seq2seq"), random_network(attention=8), random_network("window", hidden=8)],
    ids=["meta", "seq2seq", "attention", "window"],
)
def test_every_base_is_what_the_plain_module_says(here, network):
    model = sequence_model(network)
    agree(scored(model), expected(model))


def test_tiling_equals_one_piece(here):
    model = sequence_model()
    whole = scored(model, size=1 << 20)
    for size, batch in ((9000, 1 << 16), (1000, 300), (701, 128)):
        agree(whole, scored(model, size=size, batch=batch))
    halves = [Region("a", 0, 1234), Region("a", 1234, 2345, "+"), Region("a", 1234, 2345, "-"), Region("a", 2000, 9000)]
    agree(whole, scored(model, regions=[*halves, Region("b", 0, 700)]))
    part = scored(model, regions=[Region("a", 777, 2222, "-"), Region("b", 699, 700)])
    assert np.isfinite(part["a", "-"][777:2222]).all() and np.isfinite(part["b", "+"][699]).all()
    assert np.isfinite(part["a", "-"]).sum() == 3 * (2222 - 777) and not np.isfinite(part["a", "+"]).any()
    for key, values in part.items():
        kept = np.isfinite(values)
        assert values[kept] == pytest.approx(whole[key][kept], abs=1e-5)


def test_minus_strand_is_the_mirrored_plus_strand(here):
    model = sequence_model()
    (here / "mirror").mkdir()
    mirror = scored(model, world(here / "mirror", mirrored=True))
    turned = {(c, "-" if s == "+" else "+"): v[::-1] for (c, s), v in mirror.items()}
    agree(scored(model), turned)


def test_a_change_reaches_as_far_as_the_context(here):
    """One base score changed: refined scores change at its position, up to the fusion's reach, and nowhere else."""
    model, reach = sequence_model(), 16
    before = scored(model)
    tracks = ScoreTracks("base", Contigs(LENGTHS, "g.fa"))
    scores = {(c, s): tracks.read(c, 0, n, s) for c, n in LENGTHS.items() for s in "+-"}
    scores["a", "-"][0][2345] = 0.5
    with ScoreWriter("base", Contigs(LENGTHS, "g.fa"), tracks.about) as out:
        for (chrom, strand), values in scores.items():
            out.dense(chrom, 0, strand, *values)
    after = scored(model)
    moved = np.flatnonzero((before["a", "-"] != after["a", "-"]).any(axis=1) & np.isfinite(after["a", "-"][:, 0]))
    moved = moved[np.abs(before["a", "-"] - after["a", "-"])[moved].max(axis=1) > 1e-6]
    assert 2345 in moved and moved.min() >= 2345 - reach and moved.max() <= 2345 + reach
    agree({k: before[k] for k in before if k != ("a", "-")}, after)


def test_left_out_is_the_same_as_all_unknown(here):
    model = sequence_model()
    without = scored(model, without=("conservation",))
    for name in ("phylop", "phastcons"):
        write_track(
            here / f"{name}.bw", {"b": np.where(np.arange(LENGTHS["b"]) == 0, 1, np.nan)}
        )  # none at all is refused
    unknown = scored(model)
    agree(*({k: v for k, v in found.items() if k[0] == "a"} for found in (without, unknown)))
    assert np.nanmax(np.abs(without["a", "+"] - expected(model)["a", "+"])) < 1e-5


def test_unknown_only_where_the_model_needs_the_base_score(here):
    with_base = scored(sequence_model())
    low, high = UNSCORED
    assert np.isnan(with_base["a", "+"][low:high]).all()
    assert np.isfinite(with_base["a", "+"]).all(axis=1).sum() == LENGTHS["a"] - (high - low)
    for network in (random_network(streams=["sequence", "channels"]), random_network(base_models=0)):
        found = scored(sequence_model(network))
        assert all(np.isfinite(v).all() for v in found.values())
        assert found["a", "+"].sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_uncovered_bases_start_from_a_third(here):
    """Where the base model has a score nothing changes; elsewhere the network refines what it takes for unknown."""
    model = sequence_model()
    plain, filled = scored(model, here), scored(model, here, uniform=True)
    low, high = UNSCORED
    for key, values in filled.items():
        known = np.isfinite(plain[key])
        assert np.isfinite(values).all()
        assert (values[known] == plain[key][known]).all()
    assert np.isnan(plain["a", "+"][low:high]).all()
    assert filled["a", "+"][low:high].std(axis=0).max() > 0.01
    base = sequence_model(is_base=True, state={})
    assert scored(base, here, uniform=True)["a", "-"][low:high] == pytest.approx(1 / 3)


def test_uncovered_bases_are_told(told, saved, capfd):
    told(
        "--region",
        "a:3,001-6,000:+",
        "--uncovered",
        "uniform",
        "-o",
        "s.parquet",
        says="1,500 of 3,000 bases have no score",
    )
    rows = pq.read_table("s.parquet")
    assert not rows["donor"].null_count
    lacking = rows.slice(1000, 1500)
    assert set(lacking["base_donor"].to_pylist()) == {np.float32(1 / 3)}
    assert streams.open_table("s.parquet").metadata["uncovered"] == "uniform"
    told("--region", "a:3,001-6,000:+", "-o", "n.parquet")
    assert pq.read_table("n.parquet")["donor"].null_count == 1500
    assert "uncovered" not in streams.open_table("n.parquet").metadata


def test_model_that_is_its_base(here):
    model = sequence_model(is_base=True)
    (here / "ms.toml").write_text(TOML.split("[modalities")[0])  # it needs no other source
    found = scored(model)
    tracks = ScoreTracks("base", Contigs(LENGTHS, "g.fa"))
    for (chrom, strand), values in found.items():
        donor, acceptor = tracks.read(chrom, 0, LENGTHS[chrom], strand)
        np.testing.assert_array_equal(values[:, :2], np.stack([donor, acceptor], axis=1))
        assert np.nan_to_num(values.sum(axis=1), nan=1) == pytest.approx(1, abs=1e-6)


def test_bfloat16_is_near(here):
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        with pytest.raises(MetaError, match="no bfloat16 here on cpu, where it would be slow; use float32"):
            scored(sequence_model(), dtype="bfloat16")
        return
    one, other = (scored(sequence_model(), dtype=d)["a", "+"] for d in ("float32", "bfloat16"))
    assert 0 < np.nanmax(np.abs(one - other)) < 0.1


# ---- the command ----------------------------------------------------------------------------------------------------


def test_table_bigwigs_and_bed_say_the_same(run, saved, told):
    run(
        "ms-predict",
        "-m",
        "m.safetensors",
        "--threads",
        "1",
        "-o",
        "s.parquet",
        "--tracks",
        "t",
        "--batch-size",
        "1000",
    )
    keys, p = as_rows(expected(sequence_model()))
    table = rows("s.parquet")
    assert list(zip(table["chrom"], table["pos"], table["strand"], strict=True)) == keys  # every base, in this order
    assert (table["weight"] == 1).all()
    contigs = Contigs(LENGTHS, "g.fa")
    refined, base, source = (ScoreTracks(name, contigs) for name in ("t", "t.base", "base"))
    for i, site in enumerate(("donor", "acceptor", "neither")):
        np.testing.assert_allclose(table[site], p[:, i], atol=1e-5)
        if site == "neither":
            continue
        for chrom, length in LENGTHS.items():
            for strand in "+-":
                mine = (table["chrom"] == chrom) & (table["strand"] == strand)
                np.testing.assert_array_equal(refined.read(chrom, 0, length, strand)[i], table[site][mine])
                given = source.read(chrom, 0, length, strand)[i]
                np.testing.assert_array_equal(base.read(chrom, 0, length, strand)[i], given)
                np.testing.assert_array_equal(table[f"base_{site}"][mine], given)
    assert pq.read_table("s.parquet")["donor"].null_count == 2 * (UNSCORED[1] - UNSCORED[0])
    for path in Path().glob("t.*.bw"):
        check_file(path)
    about = json.loads(Path("t.json").read_text())
    assert about["model"]["recipe"] == "m1-s" and about["provenance"][-1]["tool"] == "ms-predict"
    assert json.loads(Path("t.base.json").read_text())["model"]["sha256"] == SHA
    assert "t.base.donor.plus.bw" in Path("t.igv.xml").read_text()
    told("-o", "s.bed", "--min-score", "0.4")
    lines = [x.split("\t") for x in Path("s.bed").read_text().splitlines() if not x.startswith("#")]
    sites = [(c, q, s) for s in ("donor", "acceptor") for c, q in zip(table["chrom"], table["pos"], strict=True)]
    assert len(lines) == (table["donor"] >= 0.4).sum() + (table["acceptor"] >= 0.4).sum() > 0
    assert {(x[0], int(x[1]), x[3]) for x in lines} <= set(sites)


def test_regions_from_bed_command_line_and_sites(told, saved):
    (saved / "r.bed").write_text("a\t100\t300\t.\t0\t-\na\t200\t400\nb\t0\t700\t.\t0\t+\n")
    write(saved / "sites.parquet", sites_table([("b", 9, "+", "donor", 0, 0, 1.0)], [["b", 5, 105, "+", "G", True]]))
    whole = as_rows(expected(sequence_model()))
    index = dict(zip(whole[0], whole[1][:, 0], strict=True))
    wanted = {
        ("r.bed",): 300 + 200 + 700,
        ("r.bed", "--region", "a:1-150"): 50,
        ("--region", "b:11-20", "--region", "a:1-5:-"): 25,
        ("sites.parquet",): 100,
    }
    for arguments, n in wanted.items():
        told(*arguments, "-o", "s.parquet")
        table = rows("s.parquet")
        assert len(table["pos"]) == n
        found = [index[k] for k in zip(table["chrom"], table["pos"], table["strand"], strict=True)]
        np.testing.assert_allclose(table["donor"], found, atol=1e-5)
    meta = streams.open_table("s.parquet").metadata
    assert meta["regions_bp"] == 100 and meta["modalities"] == {"present": ["conservation", "junction"], "absent": []}
    steps = [s["tool"] for s in meta["provenance"]]
    assert steps == ["ms-train", "ms-predict"]
    assert {"genome", "model", "base_scores.toy.donor.plus", "conservation.phylop"} <= set(
        meta["provenance"][-1]["inputs"]
    )


def test_standard_output_ends_in_its_mark(run, shell, saved):
    (saved / "empty.bed").touch()
    run("ms-predict", "-m", "m.safetensors", "empty.bed", code=3, says="empty file, empty.bed")
    done = run("ms-predict", "-m", "m.safetensors", "--threads", "1", "-", stdin=b"b\t0\t700\n")
    with pa.ipc.open_stream(done.stdout) as reader:
        assert reader.schema.metadata[b"ms.format"] == b'"scores"'
    (saved / "s.arrow").write_bytes(done.stdout)
    assert streams.open_table("s.arrow").table().num_rows == 1400
    done = shell("ms-predict -m m.safetensors | head -c 50 | wc -c")
    assert done.stdout.strip() == b"50" and b"rror" not in done.stderr


def test_ms_eval_takes_table_and_bigwigs_at_every_base(run, saved):
    sites = [
        ("a", 299, "+", "donor", 0, 0, 1.0),
        ("a", 500, "+", "acceptor", 0, 1, 1.0),
        ("a", 5400, "+", "donor", 0, 0, 1.0),
    ]
    genes = [["a", 100, 3000, "+", "G", True], ["a", 3500, 6000, "+", "H", True], ["b", 0, 700, "-", "I", True]]
    write(saved / "sites.parquet", sites_table(sites, genes))
    run("ms-predict", "-m", "m.safetensors", "--threads", "1", "sites.parquet", "-o", "s.parquet", "--tracks", "t")
    common = ("--labels", "sites.parquet", "--bootstrap", "0")
    run("ms-eval", "s.parquet", *common, "-o", "table.json")
    run("ms-eval", "t", "--base", "t.base", *common, "-o", "tracks.json")
    table, tracks = (json.loads(Path(f"{n}.json").read_text()) for n in ("table", "tracks"))
    assert "1,500 rows have no base score" in " ".join(table["warnings"])
    for site in ("acceptor",):  # a donor lies in the run of N: only the table knows that it was asked for
        assert table["overall"][site] == tracks["overall"][site]


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_models_that_cannot_be_read(told, saved):
    raw = (saved / "m.safetensors").read_bytes()
    for size in (4, 100, len(raw) // 2, len(raw) - 1):
        (saved / "cut.safetensors").write_bytes(raw[:size])
        told("-o", "s.parquet", model="cut.safetensors", code=1, says="cut.safetensors")
    save_file({"x": torch.zeros(3)}, "other.safetensors")
    told("-o", "s.parquet", code=1, says="other.safetensors", model="other.safetensors")
    told("-o", "s.parquet", code=1, says="no such model", model="absent.safetensors")
    (saved / "text.safetensors").write_text("hello")
    told("-o", "s.parquet", code=1, says="text.safetensors", model="text.safetensors")
    (saved / "renamed.ubj").write_bytes(raw)  # told from the content
    told("--region", "b:1-9", "-o", "s.parquet", model="renamed.ubj")


@pytest.mark.parametrize(
    ("arguments", "toml", "code", "says"),
    [
        (("--without", "nonsense"), TOML, 2, "no modality 'nonsense'"),
        (("--region", "b:1-701"), TOML, 1, "past the end"),
        (("--region", "zz"), TOML, 1, "not in the genome"),
        (("past.bed",), TOML, 1, "past b (700 bp)"),
        (("comment.bed",), TOML, 3, "no interval"),
        (("absent.bed",), TOML, 1, "no such file"),
        ((), TOML.replace("[modalities.junction]\nfiles", "[sampling]\n#"), 1, "predict --without junction"),
        ((), TOML.replace('phastcons = "phastcons.bw"', ""), 1, "no source of conservation.phastcons_score"),
        ((), TOML.replace("base_scores.toy", "base_scores.other"), 1, "no base scores of toy"),
        ((), TOML.replace('"base"', '"absent"'), 1, "no base scores, absent.donor.plus.bw"),
        (("--device", "cuda:99"), TOML, 1, "cuda:99"),
        (("--device", "abacus"), TOML, 2, "unknown device"),
        (("nobase.bed",), TOML, 3, "no base score of toy"),
    ],
)
def test_bad_inputs(told, saved, arguments, toml, code, says):
    (saved / "ms.toml").write_text(toml)
    (saved / "past.bed").write_text("b\t0\t701\n")
    (saved / "comment.bed").write_text("# nothing\n")
    (saved / "nobase.bed").write_text("a\t4100\t4200\n")
    told(*arguments, "-o", "s.parquet", "--tracks", "t", code=code, says=says)
    assert not list(saved.glob("s.*")) and not list(saved.glob("t.*")) and not list(saved.glob(".*"))


def test_base_scores_of_other_weights(told, saved):
    other = sequence_model(base_models=[{"name": "toy", "sha256": "cd" * 32}])
    (saved / "m.safetensors").write_bytes(other.to_bytes())
    told("-o", "s.parquet", code=1, says="not of the weights")


def test_a_channel_that_no_modality_gives(here):
    model = sequence_model()
    model.channels[0]["name"] = "conservation.colour"
    with pytest.raises(MetaError, match=r"no modality here gives channel conservation\.colour"):
        scored(model)


def test_options_of_sequence_models_with_a_position_model(told, saved):
    (saved / "m.ubj").write_bytes(b"{L")
    for option in (("--region", "b"), ("--without", "junction"), ("--dtype", "bfloat16"), ("--device", "cuda")):
        told("f.parquet", *option, code=2, says=f"{option[0]} is for sequence models", model="m.ubj")
    assert not predict.is_sequence("m.ubj")
    assert predict_sequence.PIECE >= 100_000
