"""The preflight opens every source, tells what it holds and what columns will be made of, and refuses what a run would."""

import numpy as np
import pytest
from evidence_case import LENGTHS, World, narrowpeak, random_peaks, write_bigwig
from test_evidence_embeddings import STEP, WIDTH, embeddings_file, fitted_pca
from test_evidence_files import write_bigbed

from libmeta import modalities, preflight
from libmeta.config import Config
from libmeta.contigs import BUILDS
from libmeta.errors import MetaError
from libmeta.features import Sources
from libmeta.tracks import ScoreWriter

SJ = "c1\t301\t500\t1\t1\t1\t7\t0\t30\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("preflight"))
    folder = world.folder
    for name in ("p", "k", "h", "d"):
        world.bigwig(name)
    (folder / "a.bedGraph").write_text("c1\t0\t1000\t1.5\nc1\t2000\t2500\t2\n")
    world.peaks = random_peaks(world.rng, 30, LENGTHS["c2"])
    narrowpeak(folder / "QKI_K562.narrowPeak", {"c2": world.peaks})
    write_bigbed(folder / "x.bb", {"c1": [(10, 30, "n\t0\t+\t4\t3\t-1\t-1")]}, LENGTHS)
    embeddings_file(folder / "e.h5", {"c1": np.random.default_rng(1).normal(size=(99, WIDTH)).astype("f4")}, STEP)
    fitted_pca(folder, folder / "e.h5", world.genome.contigs, ["c1"])
    (folder / "j.SJ.out.tab").write_text(SJ)
    about = {"format": "base_scores", "version": 1, "provenance": [{"tool": "t"}]}
    with ScoreWriter(folder / "base", world.genome.contigs, about) as out:
        out.dense("c1", 0, "+", np.full(4000, 0.1, "f4"), np.full(4000, 0.2, "f4"))
    world.sections = {
        "conservation": {"phylop": "p.bw"},
        "epigenetic": {"h3k36me3": {"K562": "k.bw", "HepG2": "h.bw"}},
        "chrom_access": {"atac": {"liver": "a.bedGraph", "lung": "x.bb"}, "dnase": "d.bw"},
        "rbp_eclip": {"files": {"QKI_K562": "QKI_K562.narrowPeak"}},
        "fm_embeddings": {"file": "e.h5", "pca": "pca.safetensors"},
        "junction": {"files": {"liver": "j.SJ.out.tab"}},
    }
    return world


def sources(world, sections):
    values = {"modalities": sections, "base_scores": {"toy": {"prefix": "base"}}}
    return Sources(Config(values, world.folder / "ms.toml"), world.genome)


@pytest.fixture(scope="module")
def found(world):
    return preflight.check(sources(world, world.sections), list(modalities.names()), must=False)


def test_sources(world, found):
    rows = {(row.modality, row.key): row for row in found.sources}
    assert found.absent == ["annotation", "exon_prob", *(["rbp_motif"] if "rbp_motif" in modalities.names() else [])]
    kinds = {
        ("conservation", "phylop"): "bigWig", ("epigenetic", "h3k36me3.HepG2"): "bigWig",
        ("chrom_access", "atac.liver"): "bedGraph", ("chrom_access", "atac.lung"): "narrowPeak",
        ("rbp_eclip", "files.QKI_K562"): "narrowPeak", ("fm_embeddings", "file"): "HDF5",
        ("base_scores", "toy.donor.plus"): "bigWig", ("genomic", "genome"): "FASTA",
        ("junction", "files.liver"): "text",
    }  # fmt: skip
    assert {key: rows[key].kind for key in kinds} == kinds
    for key, name in ((("conservation", "phylop"), "p"), (("epigenetic", "h3k36me3.K562"), "k")):
        assert rows[key].contigs == ["c1", "c2", "c3"]
        wanted = {c: float(np.isfinite(v).mean()) for c, v in world.tracks[name].items()} | {"c3": 0.0}
        assert rows[key].covered == pytest.approx(wanted)
    assert rows["chrom_access", "atac.liver"].covered == {"c1": 1500 / 4000}
    assert rows["chrom_access", "atac.lung"].covered == {"c1": 20 / 4000}
    strong = {p for a, b, *_, value in world.peaks if value >= 2 for p in range(a, b)}
    assert rows["rbp_eclip", "files.QKI_K562"].covered == {"c2": len(strong) / 1700}
    assert rows["fm_embeddings", "file"].contigs == ["c1"]


def test_columns(found):
    made = {m.column: m.files for m in found.columns}
    assert made["conservation.phylop_score"] == "phylop: p.bw"
    assert made["conservation.phastcons_score"] == ""
    assert made["conservation.conservation_contrast"] == "phylop: p.bw"
    assert made["epigenetic.h3k36me3_variance"] == "h3k36me3: 2 files (K562, HepG2)"
    assert made["epigenetic.h3k4me3_variance"] == ""
    assert made["chrom_access.dnase_has_peak"] == "dnase: d.bw"
    assert made["rbp_eclip.rbp_n_bound"] == "files.QKI_K562: QKI_K562.narrowPeak"
    assert len(made) == 43 + 3 + 4 + 9 + 12 + 12 + 12 + 8 + 8
    channels = {m.column for m in found.channels}
    assert {"epigenetic.h3k36me3_max", "rbp_eclip.rbp_n_bound"} <= channels
    assert "epigenetic.h3k4me3_max" not in channels


def test_lines(found):
    text = list(preflight.lines(found))
    assert all(line.endswith("\n") for line in text)
    joined = "".join(text)
    assert "# genome\tg.fa\tunknown build\t3 contigs\n" in joined
    atac = next(line for line in text if line.startswith("chrom_access\tatac.liver\t"))
    assert atac.split("\t")[2:7] == ["bedGraph", "-", "1 of 3", "1,500", "37.5%"]
    assert "exon_prob\t-\tno source in ms.toml" in joined
    assert "epigenetic.h3k4me3_variance\tMISSING: not named in ms.toml\t" in joined
    first = next(line for line in text if line.startswith("c1\t"))
    header = next(line for line in text if line.startswith("\n# contig\t"))
    assert len(first.split("\t")) == len(header.split("\t"))


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (
            {"epigenetic": {"h3k4me3": {"A": "37.bw", "B": "38.bw"}}},
            "two builds in one mark: contig chr1 is 249,250,621",
        ),
        ({"conservation": {"phylop": "37.bw"}}, "no contig in common"),
        ({"junction": {"files": {"x": "bad.SJ.out.tab"}}}, "past c1"),
        ({"chrom_access": {"atac": "bad.bed.gz"}}, "ends past its contig"),
    ],
)
def test_what_a_run_would_refuse_is_refused(world, section, says):
    import pysam

    for name, lengths in (("37", BUILDS["GRCh37"]), ("38", BUILDS["GRCh38"])):
        values = {"chr1": np.full(3, 1.0)}
        write_bigwig(world.folder / f"{name}.bw", values, {"chr1": lengths["1"]})
    (world.folder / "bad.SJ.out.tab").write_text(SJ.replace("500", "5000"))
    (world.folder / "bad.bed").write_text("c1\t10\t20\tx\t3\nc1\t30\t4001\tx\t3\n")
    pysam.tabix_compress(str(world.folder / "bad.bed"), str(world.folder / "bad.bed.gz"), force=True)
    pysam.tabix_index(str(world.folder / "bad.bed.gz"), preset="bed", force=True)
    with pytest.raises(MetaError) as error:
        preflight.check(sources(world, section), list(modalities.names()), must=False)
    assert says in str(error.value)


def test_a_modality_that_is_named_must_have_a_source(world):
    with pytest.raises(MetaError, match="no eCLIP peaks"):
        preflight.check(sources(world, {}), ["rbp_eclip"], must=True)
