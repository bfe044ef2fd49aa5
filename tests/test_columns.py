"""The columns are those of the specification; and tracks, base scores, labels and sequence stand on one base, to the end."""

import json
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import random_sequence, write_fasta
from evidence_case import write_bigwig

from libmeta import modalities, schema
from libmeta.genome import Genome, decode
from libmeta.shards import Shards
from libmeta.tracks import ScoreWriter

AROUND = ("m2", "m1", "p1", "p2")
SUMMARY = ("max_across_tissues", "mean_across_tissues", "tissue_breadth", "variance", "context_mean")
# what the specification names, written out: the code is compared with this, not the other way round
NAMED = {
    "base_scores": [
        "donor_score", "acceptor_score", "neither_score", *(f"context_score_{k}" for k in AROUND),
        "relative_donor_probability", "splice_probability", "donor_acceptor_diff", "splice_neither_diff",
        "donor_acceptor_logodds", "splice_neither_logodds", "probability_entropy", "context_neighbor_mean",
        "context_asymmetry", "context_max",
        *(f"{t}_{k}" for t in ("donor", "acceptor") for k in (
            "diff_m1", "diff_p1", "diff_m2", "diff_p2", "surge_ratio", "is_local_peak", "weighted_context",
            "peak_height_ratio", "second_derivative", "signal_strength", "context_diff_ratio")),
        "donor_acceptor_peak_ratio", "type_signal_difference", "score_difference_ratio", "signal_strength_ratio",
    ],
    "annotation": ["splice_type", "transcript_id", "transcript_count"],
    "sequence": ["sequence", "window_start", "window_end"],
    "genomic": ["relative_gene_position", "distance_to_gene_start", "distance_to_gene_end", "gc_content"],
    "conservation": [
        *(f"{t}_{k}" for t in ("phylop", "phastcons") for k in ("score", "context_mean", "context_max", "context_std")),
        "conservation_contrast",
    ],
    "epigenetic": [f"{m}_{k}" for m in ("h3k36me3", "h3k4me3") for k in (*SUMMARY, "exon_intron_ratio")],
    "junction": [f"junction_{k}" for k in (
        "log1p", "has_support", "n_partners", "max_reads", "entropy", "is_annotated", "tissue_breadth", "tissue_max",
        "tissue_mean", "tissue_variance", "psi", "psi_variance")],
    "rbp_eclip": [f"rbp_{k}" for k in (
        "n_bound", "max_signal", "max_neg_log10_pvalue", "has_splice_regulator", "n_sr_proteins", "n_hnrnps",
        "cell_line_breadth", "mean_signal")],
    "chrom_access": [f"{a}_{k}" for a in ("atac", "dnase") for k in (*SUMMARY, "has_peak")],
    "fm_embeddings": [*(f"pca_{i}" for i in range(1, 7)), "norm", "local_gradient"],
    "exon_prob": ["exon_prob"],
}  # fmt: skip
SIZES = {
    "base_scores": 43, "annotation": 3, "sequence": 3, "genomic": 4, "conservation": 9, "epigenetic": 12, "junction": 12,
    "rbp_eclip": 8, "chrom_access": 12, "fm_embeddings": 8, "exon_prob": 1,
}  # fmt: skip
OTHER_TYPES = {
    "annotation.splice_type": "string", "annotation.transcript_id": "string", "annotation.transcript_count": "int32",
    "sequence.sequence": "string", "sequence.window_start": "int64", "sequence.window_end": "int64",
}  # fmt: skip
ROLES = {"annotation": "label", "sequence": "data"}
CHANNELS = {
    "conservation.phylop_score", "conservation.phastcons_score", "epigenetic.h3k36me3_max", "epigenetic.h3k4me3_max",
    "chrom_access.atac_max", "chrom_access.dnase_max", "junction.junction_log1p", "junction.junction_has_support",
    "rbp_eclip.rbp_n_bound",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_columns_of_the_specification(name):
    columns = modalities.columns(name)
    assert [c.name for c in columns] == [f"{name}.{k}" for k in NAMED[name]]
    assert len(columns) == SIZES[name]
    readme = schema.readme()
    for column in columns:
        assert column.type == OTHER_TYPES.get(column.name, "float32"), column.name
        assert column.role == ROLES.get(name, "feature"), column.name
        assert column.doc, column.name
        # every feature says what null means, and the generated page shows it
        start = f"| `{column.name}` | {column.type} |"  # a channel may have the same name, and no type
        (row,) = (line for line in readme.splitlines() if line.startswith(start))
        cells = [c.strip() for c in row.strip("|").split(" | ")]
        assert (cells[4] != "never") == bool(column.missing), column.name
        assert column.missing or column.role != "feature", column.name
        assert cells[5] == column.doc


def test_no_modality_without_a_specification():
    assert set(modalities.names()) - set(NAMED) == {"rbp_motif"}  # the stand-in for eCLIP


def test_channels_of_the_specification():
    found = {c.name: c for n in modalities.names() for c in modalities.channels(n)}
    assert set(found) >= CHANNELS
    assert all(c.missing for c in found.values())
    readme = schema.readme()
    assert all(f"| `{name}` |" in readme for name in found)


# ---- everything on one base -----------------------------------------------------------------------------------------

LENGTH = 6000
PLUS, MINUS = [(500, 700), (1200, 1300), (2100, 2400)], [(3300, 3600), (4100, 4250), (5000, 5200)]  # exons, 0-based
PAIR = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def turned(text: str) -> str:
    return "".join(PAIR[c] for c in reversed(text))


def sites():
    """{(position, strand): class} as exonic bases, from the exons above."""
    found = {}
    for exons, strand in ((PLUS, "+"), (MINUS, "-")):
        for (_, end), (start, _) in pairwise(exons):
            donor, acceptor = (end - 1, start) if strand == "+" else (start, end - 1)
            found |= {(donor, strand): 0, (acceptor, strand): 1}
    return found


@pytest.fixture
def placed(run, tmp_path):
    """A contig whose tracks say where they are: phyloP is the position, phastCons and donor score a share of it."""
    text = list(random_sequence(LENGTH, 3))
    for exons, ends in ((PLUS, ("GT", "AG")), (MINUS, ("CT", "AC"))):
        for (_, end), (start, _) in pairwise(exons):
            text[end : end + 2], text[start - 2 : start] = ends
    text = "".join(text)
    write_fasta(tmp_path / "g.fa", {"c1": text})
    lines = [
        f'c1\tx\texon\t{a + 1}\t{b}\t.\t{strand}\t.\tgene_id "{strand}"; transcript_id "t{strand}"; tag "MANE_Select";\n'
        for exons, strand in ((PLUS, "+"), (MINUS, "-"))
        for a, b in exons
    ]
    (tmp_path / "a.gtf").write_text("".join(lines))
    at = np.arange(LENGTH)
    write_bigwig(tmp_path / "p.bw", {"c1": at.astype(float)}, {"c1": LENGTH})
    write_bigwig(tmp_path / "k.bw", {"c1": at + 0.5}, {"c1": LENGTH})
    contigs = Genome(tmp_path / "g.fa").contigs
    with ScoreWriter(
        tmp_path / "s", contigs, {"format": "base_scores", "version": 1, "provenance": [{"tool": "t"}]}
    ) as out:
        for strand, sign in (("+", 0), ("-", 0.5)):
            out.dense("c1", 0, strand, (at / 20_000 + sign).astype("f4"), (at / 40_000).astype("f4"))
    introns = [(a[1], b[0]) for a, b in pairwise(PLUS)]
    (tmp_path / "j.SJ.out.tab").write_text("".join(f"c1\t{a + 1}\t{b}\t1\t1\t1\t{a}\t0\t30\n" for a, b in introns))
    (tmp_path / "ms.toml").write_text(
        '[genome]\nfasta = "g.fa"\n[annotation]\ntiers = [{name = "MANE", gtf = "a.gtf"}]\n[base_scores.s]\nprefix = "s"\n'
        '[modalities.conservation]\nphylop = "p.bw"\n[modalities.epigenetic]\nh3k36me3 = "k.bw"\n'
        '[modalities.junction]\nfiles = {one = "j.SJ.out.tab"}\n'
    )
    (tmp_path / "r.bed").write_text(f"c1\t0\t{LENGTH}\n")
    return run, text


def score(strand: str, pos):
    return np.asarray(pos) / 20_000 + (0.5 if strand == "-" else 0)


def test_columns_labels_and_sequence_are_of_one_base(placed):
    run, text = placed
    run("ms-features", "r.bed", "--background", "1", "-o", "f.parquet")
    table = pq.read_table("f.parquet")
    pos, strand = table["pos"].to_numpy(), np.array(table["strand"].to_pylist())
    assert sorted(zip(strand.tolist(), pos.tolist(), strict=True)) == [(s, p) for s in "+-" for p in range(LENGTH)]
    assert np.array_equal(table["conservation.phylop_score"].to_numpy(), pos)
    assert np.array_equal(table["epigenetic.h3k36me3_max_across_tissues"].to_numpy(), pos + np.float32(0.5))
    scores = table["base_scores.donor_score"].to_numpy(zero_copy_only=False)
    np.testing.assert_allclose(scores, np.where(strand == "-", score("-", pos), score("+", pos)), atol=1e-6)
    # the neighbour upstream is one base to the left on +, to the right on -
    upstream = table["base_scores.context_score_m1"].to_numpy(zero_copy_only=False)
    known = np.isfinite(upstream)
    assert known.sum() == 2 * (LENGTH - 1)  # all but the one that would lie off the contig
    before = np.where(strand == "-", score("-", pos + 1), score("+", pos - 1))
    np.testing.assert_allclose(upstream[known], before[known], atol=1e-6)
    wanted, windows = sites(), table["sequence.sequence"].to_pylist()
    label, reads = table["label.site"].to_numpy(), table["junction.junction_max_reads"].to_pylist()
    for i, (p, s) in enumerate(zip(pos.tolist(), strand.tolist(), strict=True)):
        assert label[i] == wanted.get((p, s), 2)
        assert windows[i][250] == (text[p] if s == "+" else PAIR[text[p]])
        if (p, s) in wanted:
            beside = windows[i][251:253] if label[i] == 0 else windows[i][248:250]
            assert beside == ("GT" if label[i] == 0 else "AG"), (p, s)
    supported = {p: n for p, s, n in zip(pos.tolist(), strand, reads, strict=True) if s == "+" and n}
    assert supported == {p: float(a[1]) for a, b in pairwise(PLUS) for p in (a[1] - 1, b[0])}


def test_channels_labels_and_sequence_are_of_one_base(placed):
    """Through ms-features --dense and ms-shard to what a network sees: transcript orientation."""
    run, text = placed
    run("ms-labels", "--recipe", "m1", "--genes-bed", "genes.bed", "-o", "s.parquet")
    run("ms-features", "genes.bed", "--dense", "--flank", "50", "-o", "d.arrow")
    run("ms-shard", "d.arrow", "--labels", "s.parquet", "--recipe", "m1-s", "--train", "c1:1-2,900", "--valid", "c1:2,901-6,000",
        "-o", "shards")  # fmt: skip
    shards = Shards("shards")
    names = [c["name"] for c in shards.channels]
    assert {"conservation.phylop_score", "epigenetic.h3k36me3_max", "junction.junction_log1p"} <= set(names)
    logged = [c["log1p"] for c in json.loads(json.dumps(shards.channels))]
    found = {}
    for part in ("train", "valid"):
        for region in shards.regions(part):
            data = shards.read(region, 0, region.length)
            pos = np.arange(region.start, region.end)[:: 1 if region.strand == "+" else -1]
            letters = text[region.start : region.end]
            assert decode(data["sequence"]) == (letters if region.strand == "+" else turned(letters))
            rows = dict(zip(names, data["channels"].astype(float), strict=True))
            # channels are packed as 16-bit floats: exact to 1 in 2,048
            np.testing.assert_allclose(rows["conservation.phylop_score"], pos, rtol=1 / 1024)
            packed = rows["epigenetic.h3k36me3_max"]
            raw = np.expm1(packed) if logged[names.index("epigenetic.h3k36me3_max")] else packed
            np.testing.assert_allclose(raw, pos + 0.5, rtol=1 / 100)
            np.testing.assert_allclose(data["base"][0, 0].astype(float), score(region.strand, pos), rtol=1 / 1024)
            at = np.flatnonzero(data["label"] != 2)
            found |= {(int(pos[i]), region.strand): int(data["label"][i]) for i in at}
            if region.strand == "+":
                reads = rows["junction.junction_log1p"]
                wanted = {p: np.log1p(a[1]) for a, b in pairwise(PLUS) for p in (a[1] - 1, b[0])}
                for p, value in wanted.items():
                    assert reads[np.flatnonzero(pos == p)] == pytest.approx(value, rel=1e-3)
    assert found == sites()
