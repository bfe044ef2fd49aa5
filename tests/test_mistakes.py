"""Mistakes that users make, each met by one line that names it; and answers that must not quietly be other ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import toy_features
from conftest import random_sequence, write_fasta

from libmeta import basescore
from libmeta.checkpoint import from_file
from libmeta.errors import MetaError
from libmeta.genome import Genome

GTF = 'c1\tx\texon\t{}\t{}\t.\t+\t.\tgene_id "{}"; transcript_id "{}t";\n'
SJ = "c1\t301\t500\t1\t1\t1\t{}\t0\t30\n"


@pytest.fixture
def world(run, tmp_path):
    """Two genes of two exons on c1; junction reads of the first only; c2 has none."""
    text = list(random_sequence(3000))
    for at in (300, 1300):
        text[at : at + 2], text[at + 198 : at + 200] = "GT", "AG"
    write_fasta(tmp_path / "g.fa", {"c1": "".join(text), "c2": random_sequence(800, 2)})
    lines = [(201, 300, "P"), (501, 600, "P"), (1201, 1300, "Q"), (1501, 1600, "Q")]
    (tmp_path / "a.gtf").write_text("".join(GTF.format(*x, x[2]) for x in lines))
    (tmp_path / "j.SJ.out.tab").write_text(SJ.format(7))
    (tmp_path / "r.bed").write_text("c1\t0\t3000\nc2\t0\t800\n")
    toml(junction='files = {liver = "j.SJ.out.tab"}')
    return run


def toml(junction="", extra="", name="ms.toml"):
    section = f"[modalities.junction]\n{junction}\n" if junction else ""
    tiers = 'tiers = [{name = "MANE", gtf = "a.gtf"}]'
    Path(name).write_text(f'[genome]\nfasta = "g.fa"\n[annotation]\n{tiers}\n{section}{extra}\n')


def rows(path):
    return {k: np.array(v) for k, v in pq.read_table(path).to_pydict().items()}


def test_m3_negatives_lie_in_measured_genes_only(world):
    world("ms-labels", "--recipe", "m3", "-o", "s.parquet")
    world(
        "ms-features",
        "r.bed",
        "--labels",
        "s.parquet",
        "--modalities",
        "genomic",
        "--background",
        "1",
        "-o",
        "f.parquet",
    )
    found = rows("f.parquet")
    kept = (found["label.weight"] > 0) & (found["strand"] == "+") & (found["chrom"] == "c1")
    assert found["pos"][kept].tolist() == [p for p in range(200, 600) if p not in (299, 500)]
    assert kept.sum() == (found["label.weight"] > 0).sum()


def test_silent_genes_and_contigs_have_no_junction_features(world):
    world("ms-features", "r.bed", "--modalities", "junction", "--background", "1", "-o", "f.parquet")
    found = rows("f.parquet")
    known = np.array([v is not None for v in found["junction.junction_log1p"]])
    places = set(zip(found["chrom"][known], found["pos"][known] // 1, found["strand"][known], strict=True))
    assert places == {("c1", p, "+") for p in range(200, 600)}
    at = (found["pos"] == 299) & (found["strand"] == "+") & (found["chrom"] == "c1")
    assert float(found["junction.junction_log1p"][at][0]) == pytest.approx(np.log1p(7))


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ('[modalities.conservaton]\nphylop = "p.bw"', "unknown modality 'conservaton'"),
        ('[modalities.conservation]\nphastCons = "a.gtf"', "unknown key phastCons"),
        ("[sampling]\ndinucleotides = 0.2", "unknown key dinucleotides"),
        ('[base_scores.x]\npath = "x"', "neither prefix nor model"),
    ],
)
def test_mistyped_configuration(world, extra, says):
    toml(extra=extra)
    world("ms-features", "r.bed", "-o", "x.arrow", code=2, says=says)


def test_wrong_kinds_in_the_configuration(world):
    toml(junction='files = "j.SJ.out.tab"')
    world("ms-features", "r.bed", "-o", "x.arrow", code=2, says="write files = {tissue")
    Path("ms.toml").write_text('genome = "g.fa"\n')
    world("ms-features", "r.bed", "-o", "x.arrow", code=2, says="write [genome]")


def test_reference_by_name_and_unknown_names(run, tmp_path):
    table = toy_features.table(junction=False)
    meta = {**table.schema.metadata, b"ms.tiers": json.dumps(["MANE", "basic"]).encode()}
    toy_features.write(tmp_path / "f.parquet", table.replace_schema_metadata(meta))
    args = (
        "ms-train",
        "f.parquet",
        "--recipe",
        "m3-p",
        "--threads",
        "1",
        "--rounds",
        "2",
        "--valid",
        "chr1:600,001-900,000",
    )
    run(*args, "--reference", "basic", "-o", "m.ubj")
    assert from_file("m.ubj").training["labels"] == {"reference": [1]}
    run(*args, "--reference", "nonsense", "-o", "x.ubj", code=2, says="nonsense")
    run(*args[:3], "m3-p", "--rounds", "0", "-o", "x.ubj", code=2, says="0 is not in the range")


def test_scores_of_other_weights_are_refused(run, tmp_path):
    table = toy_features.table(junction=False)
    for name in "ab":
        about = json.dumps([{"name": name, "sha256": name, "trained_on": ["2"]}]).encode()
        meta = {**table.schema.metadata, b"ms.base_models": about}
        toy_features.write(tmp_path / f"{name}.parquet", table.replace_schema_metadata(meta))
    run("ms-train", "a.parquet", "--recipe", "m1-p", "--threads", "1", "--rounds", "2", "-o", "m.ubj")
    run("ms-predict", "-m", "m.ubj", "a.parquet", "-o", "s.parquet")
    run("ms-predict", "-m", "m.ubj", "b.parquet", "-o", "s.parquet", code=1, says="not of the weights")
    assert from_file("m.ubj").split["seen"]["train"][0][0] == "chr1"


def test_tracks_on_another_genome(run, tmp_path):
    toy_features.write(tmp_path / "f.parquet", toy_features.table(junction=False))
    run("ms-train", "f.parquet", "--recipe", "m1-p", "--threads", "1", "--rounds", "2", "-o", "m.ubj")
    write_fasta(tmp_path / "g.fa", {"chr1": "A" * 5000})
    run(
        "ms-predict",
        "-m",
        "m.ubj",
        "f.parquet",
        "-o",
        "s.parquet",
        "--tracks",
        "t",
        "--genome",
        "g.fa",
        code=1,
        says="not in the genome",
    )
    assert not list(tmp_path.glob("t.*"))


def test_sites_of_another_genome(world):
    world("ms-labels", "-o", "s.parquet")
    write_fasta(Path("short.fa"), {"c1": random_sequence(550), "c2": random_sequence(800, 2)})
    world("ms-features", "s.parquet", "--genome", "short.fa", "-o", "x.arrow", code=1, says="past c1")


def test_index_of_another_fasta(tmp_path):
    path = write_fasta(tmp_path / "g.fa", {"a": random_sequence(20), "b": random_sequence(30)}, width=10)
    Genome(path)
    write_fasta(path, {"a": random_sequence(20), "b": random_sequence(50)}, width=5)
    with pytest.raises(MetaError, match="not as its index says"):
        Genome(path)


def test_tracebacks_do_not_change_exit_codes(run, tmp_path):
    (tmp_path / "x.arrow").touch()
    for extra in ((), ("-vv",)):
        done = run("ms-train", "x.arrow", "--recipe", "m1-p", "-o", "m.ubj", *extra, code=4)
        assert b"unexpected" not in done.stderr


def test_runs_of_n_do_not_depend_on_the_cut(tmp_path):
    class Engine:
        context = 10

        def score(self, codes):
            return np.zeros((len(codes) - 20, 3), np.float32)

    genome = Genome(write_fasta(tmp_path / "g.fa", {"a": "A" * 500 + "N" * 1500 + "C" * 500}))
    whole = basescore.score_stretch(Engine(), genome, "a", 0, 2500, "+")
    parts = [
        basescore.score_stretch(Engine(), genome, "a", s, e, "+") for s, e in ((0, 1200), (1200, 1900), (1900, 2500))
    ]
    assert np.array_equal(np.concatenate(parts, axis=1), whole, equal_nan=True)
    assert np.isnan(whole[0]).sum() == 1500


def test_left_over_temporary_files_go(world, tmp_path):
    import platform

    from libmeta.streams import atomic

    dead = tmp_path / f".x.{platform.node()}.4194999.tmp"
    other = tmp_path / ".x.elsewhere.4194999.tmp"
    for path in (dead, other):
        path.touch()
    with atomic(tmp_path / "x") as path:
        path.write_text("new")
    assert not dead.exists()
    assert other.exists()
    shutil.rmtree(tmp_path / "nothing", ignore_errors=True)
