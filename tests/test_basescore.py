"""ms-basescore: the same numbers as the engine itself, in every format, on both strands, cached, resumed."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import DATA, random_sequence, tool, write_fasta
from random_weights import random_net, write_openspliceai

from libmeta import basescore, engines
from libmeta.basemodels import openspliceai
from libmeta.check import check_file
from libmeta.contigs import Contigs
from libmeta.genome import decode, encode, reverse_complement
from libmeta.tracks import ScoreTracks

SMALL = 40  # context of the small network, bases on each side


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "w"
    folder.mkdir()
    for i in range(2):
        write_openspliceai(folder / f"model_{i}.pt", random_net(SMALL, slope=0.1, eps=1e-5, seed=i))
    return folder


@pytest.fixture
def genome(tmp_path):
    text = random_sequence(9000)
    text = text[:4000] + "N" * 1500 + text[5500:]
    return write_fasta(tmp_path / "g.fa", {"a": text, "b": random_sequence(700, 5)})


ARGS = ("--genome", "g.fa", "--model", "openspliceai", "--weights", "w")


def rows(path):
    check_file(Path(path))
    return {k: np.array(v) for k, v in pq.read_table(path).to_pydict().items()}


def test_table_equals_engine_and_bigwigs(run, weights, genome):
    run("ms-basescore", *ARGS, "-o", "s.parquet")
    run("ms-basescore", *ARGS, "-o", "s")
    table = rows("s.parquet")
    contigs = Contigs({"a": 9000, "b": 700}, "g.fa")
    tracks = ScoreTracks("s", contigs)
    engine = engines.build(openspliceai.read(openspliceai.find("w")), "reference")
    text = {
        k: "".join(v.split("\n")[1:]) for k, v in ((b.split("\n")[0], b) for b in genome.read_text().split(">")[1:])
    }
    for chrom, length in contigs.lengths.items():
        for strand in "+-":
            codes = np.pad(encode(text[chrom]), SMALL)
            expected = engine.score(codes if strand == "+" else reverse_complement(codes))
            expected = expected if strand == "+" else expected[::-1]
            here = (table["chrom"] == chrom) & (table["strand"] == strand)
            pos = table["pos"][here]
            assert len(pos) == (length - 1500 if chrom == "a" else length)
            assert table["donor"][here] == pytest.approx(expected[pos, 0], abs=1e-5)
            assert table["acceptor"][here] == pytest.approx(expected[pos, 1], abs=1e-5)
            donor, acceptor = tracks.read(chrom, 0, length, strand)
            assert donor[pos] == pytest.approx(table["donor"][here], abs=1e-6)
            assert acceptor[pos] == pytest.approx(table["acceptor"][here], abs=1e-6)
            assert np.isfinite(donor).sum() == len(pos)
    for path in Path().glob("s.*"):
        check_file(path)
    assert not Path("s.parts").exists()


def test_minus_strand_is_the_mirrored_plus_strand(run, weights, genome):
    text = random_sequence(3000, 9)
    write_fasta(Path("f.fa"), {"a": text})
    write_fasta(Path("r.fa"), {"a": decode(reverse_complement(encode(text)))})
    for name in "fr":
        run("ms-basescore", *ARGS[2:], "--genome", f"{name}.fa", "-o", f"{name}.parquet")
    f, r = rows("f.parquet"), rows("r.parquet")
    for site in ("donor", "acceptor"):
        assert f[site][f["strand"] == "-"] == pytest.approx(r[site][r["strand"] == "+"][::-1], abs=1e-6)
        assert f[site][f["strand"] == "+"] == pytest.approx(r[site][r["strand"] == "-"][::-1], abs=1e-6)


def test_regions_have_real_flanks(run, weights, genome):
    run("ms-basescore", *ARGS, "-o", "all.parquet")
    Path("r.bed").write_text("a\t100\t200\t.\t0\t-\na\t150\t400\t.\t0\t-\na\t6000\t6001\nb\t0\t700\t.\t0\t+\n")
    run("ms-basescore", "r.bed", *ARGS, "-o", "part.parquet")
    run("ms-basescore", *ARGS, "--region", "b:1-700:+", "--region", "a:6001-6001", "-o", "few.arrow")
    part = rows("part.parquet")
    assert len(part["pos"]) == 300 + 2 + 700
    whole = rows("all.parquet")
    index = {
        (c, p, s): d for c, p, s, d in zip(whole["chrom"], whole["pos"], whole["strand"], whole["donor"], strict=True)
    }
    expected = [index[k] for k in zip(part["chrom"], part["pos"], part["strand"], strict=True)]
    assert part["donor"] == pytest.approx(expected, abs=1e-5)


def test_stretches_without_runs_of_n():
    codes = encode("A" * 5 + "N" * 1000 + "C" * 3 + "N" * 999 + "G")
    assert basescore.known_stretches(codes) == [(0, 5), (1005, 2008)]
    assert basescore.known_stretches(encode("N" * 2000)) == []
    assert basescore.known_stretches(encode("NNNA")) == [(0, 4)]


def test_cache_is_shared_with_features(run, weights, genome):
    first = run("ms-basescore", *ARGS, "--region", "b", "--cache", "kept", "-o", "s")
    assert b"1,400 of them computed" in first.stderr
    second = run("ms-basescore", *ARGS, "--region", "b:11-600", "--cache", "kept", "-o", "t.parquet")
    assert b"0 of them computed" in second.stderr
    toml = '[genome]\nfasta = "g.fa"\n[base_scores.live]\nmodel = "openspliceai"\nweights = "w"\ncache = "kept"\n'
    Path("ms.toml").write_text(toml)
    Path("made.toml").write_text('[genome]\nfasta = "g.fa"\n[base_scores.made]\nprefix = "s"\n')
    Path("r.bed").write_text("b\t0\t700\n")
    before = sorted(Path("kept").rglob("*.npy"))
    for config in ("ms.toml", "made.toml"):
        run("ms-features", "r.bed", "--config", config, "--modalities", "base_scores", "-o", f"{config}.parquet")
    assert sorted(Path("kept").rglob("*.npy")) == before
    live, made = (pq.read_table(f"{c}.parquet") for c in ("ms.toml", "made.toml"))
    assert live.num_rows == made.num_rows > 0
    assert live.columns == made.columns


def test_cache_tells_models_and_genomes_apart(run, weights, genome):
    run("ms-basescore", *ARGS, "--region", "b", "--cache", "kept", "-o", "s")
    for change in (("--models", "1"), ("--engine", "reference")):
        done = run("ms-basescore", *ARGS, *change, "--region", "b", "--cache", "kept", "-o", "s2")
        assert b"1,400 of them computed" in done.stderr
    write_fasta(genome, {"a": random_sequence(9000, 7), "b": random_sequence(700, 8)})
    done = run("ms-basescore", *ARGS, "--region", "b", "--cache", "kept", "-o", "s3")
    assert b"1,400 of them computed" in done.stderr
    broken = next(Path("kept").rglob("*.npy"))
    broken.write_bytes(b"x")
    manifest = json.loads(next(Path("kept").rglob("manifest.json")).read_text())
    assert manifest["model"]["name"] == "openspliceai"


def test_killed_and_started_again(run, tmp_path, weights):
    """kill -9 in the middle, then the same command: same bytes, and what was finished is not computed again."""
    args = ["--genome", str(DATA / "chr15.fa.gz"), *ARGS[2:], "--region", "chr15:48,000,001-50,500,000"]
    run("ms-basescore", *args, "-o", "whole")
    process = subprocess.Popen(
        [*tool("ms-basescore"), *args, "-o", "again"], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
    )
    for _ in range(2000):
        if len(list(tmp_path.glob("again.parts/*/*/*.npy"))) > 20:
            break
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "again.json").exists()
    done = run("ms-basescore", *args, "-o", "again").stderr.decode()
    computed = int(re.search(r"([\d,]+) of them computed", done)[1].replace(",", ""))
    assert computed < 5_000_000
    for ending in ("donor.plus", "donor.minus", "acceptor.plus", "acceptor.minus"):
        assert Path(f"again.{ending}.bw").read_bytes() == Path(f"whole.{ending}.bw").read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_bad_requests(run, weights, genome):
    run("ms-basescore", *ARGS, "--region", "zz", "-o", "s", code=1, says="not in the genome")
    run("ms-basescore", *ARGS, "--region", "b:1-701", "-o", "s", code=1, says="past the end")
    run("ms-basescore", *ARGS, "--models", "9", "-o", "s", code=2, says="has 2 networks")
    run("ms-basescore", *ARGS, "--engine", "fft", "--dtype", "bfloat16", "-o", "s", code=1, says="bfloat16")
    run("ms-basescore", *ARGS, "--device", "cuda:99", "-o", "s", code=1, says="cuda:99")
    run("ms-basescore", *ARGS[:4], "--weights", "g.fa", "-o", "s", code=1, says="g.fa")
    Path("empty.bed").touch()
    run("ms-basescore", "empty.bed", *ARGS, "-o", "s", code=3, says="empty file")
    assert not list(Path().glob("s*"))


def test_without_the_compiled_kernel(run, weights, genome):
    """MS_NO_KERNEL hides it, as on a machine without a C compiler: the gemm engine gives the same numbers."""
    run("ms-basescore", *ARGS, "--region", "b", "-o", "k.parquet")
    done = run("ms-basescore", *ARGS, "--region", "b", "-o", "n.parquet", env={"MS_NO_KERNEL": "1"})
    assert b"engine gemm" in done.stderr
    assert rows("k.parquet")["donor"] == pytest.approx(rows("n.parquet")["donor"], abs=1e-5)
    run("ms-basescore", *ARGS, "--engine", "fft", "-o", "x", env={"MS_NO_KERNEL": "1"}, code=1, says="kernel")
