"""Every column of every modality of tracks and peaks, against plain Python at each position of random regions."""

import gzip
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import DATA
from evidence_case import (
    LENGTHS,
    NAN,
    World,
    embeddings_file,
    fitted_pca,
    narrowpeak,
    random_peaks,
    same,
    write_bigwig,
)

from libmeta import modalities
from libmeta.check import check_file
from libmeta.config import Config
from libmeta.features import Sources, Window
from libmeta.genome import Genome
from libmeta.modalities import chrom_access, conservation, epigenetic, exon_prob, rbp_eclip
from libmeta.rbp_genes import HNRNPS, SPLICE_REGULATORS, SR_PROTEINS

TISSUES = ("K562", "HepG2", "H1")
# whole small contigs, both ends of the large one, its middle, a contig without evidence
REGIONS = [("c1", 0, 650), ("c1", 1700, 1900), ("c1", 3400, 4000), ("c2", 0, 1700), ("c3", 0, 900)]
SIGNS = {"+": 1, "-": -1}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("evidence"))


def known(values):
    return [v for v in values if not math.isnan(v)]


def mean(values):
    values = known(values)
    return math.fsum(values) / len(values) if values else NAN


def variance(values):
    values = known(values)
    return math.fsum((v - mean(values)) ** 2 for v in values) / len(values) if values else NAN


def highest(values):
    return max(known(values), default=NAN)


def each_place():
    for chrom, start, end in REGIONS:
        for strand in "+-":
            yield chrom, start, end, strand


def marks(world, module, names):
    """A modality with every mark in three tissues."""
    section = {m: {t: world.bigwig(f"{m}_{t}") for t in TISSUES} for m in names}
    return world.reader(module.NAME, **section)


class Marks:
    """Plain Python: what a mark's columns are at one position."""

    def __init__(self, world, mark, chrom):
        tracks = [world.tracks[f"{mark}_{t}"].get(chrom, np.zeros(0)) for t in TISSUES]
        self.tissues = [t.tolist() for t in tracks]
        self.length = len(self.tissues[0])
        self.mean = [mean([t[p] for t in self.tissues]) for p in range(self.length)]

    def here(self, pos):
        return [t[pos] if pos < self.length else NAN for t in self.tissues]

    def around(self, low, high):
        return mean(self.mean[max(low, 0) : max(high, 0)])

    def common(self, pos, above, reach):
        values = self.here(pos)
        return {
            "max_across_tissues": highest(values),
            "mean_across_tissues": mean(values),
            "tissue_breadth": sum(v > above for v in known(values)) if known(values) else NAN,
            "variance": variance(values),
            "context_mean": self.around(pos - reach, pos + reach + 1),
        }

    def ratio(self, pos, strand):
        before, after = self.around(pos - 500, pos), self.around(pos + 1, pos + 501)
        up, down = (before, after) if strand == "+" else (after, before)
        return math.log2(up + 1) - math.log2(down + 1)


def compare(found, rows, names):
    for name in names:
        same(found[name], [row[name] for row in rows], name)


def test_epigenetic_columns(world):
    reader = marks(world, epigenetic, epigenetic.MARKS)
    for chrom, start, end, strand in each_place():
        found = world.read(reader, chrom, start, end, strand)
        for mark in epigenetic.MARKS:
            plain = Marks(world, mark, chrom)
            rows = [
                {
                    f"{mark}_{k}": v
                    for k, v in (plain.common(p, 1.5, 200) | {"exon_intron_ratio": plain.ratio(p, strand)}).items()
                }
                for p in range(start, end)
            ]
            compare(found, rows, rows[0])
        assert list(found) == [c.name for c in epigenetic.COLUMNS]


def test_chrom_access_columns(world):
    reader = marks(world, chrom_access, chrom_access.ASSAYS)
    for chrom, start, end, strand in each_place():
        found = world.read(reader, chrom, start, end, strand)
        for assay, above, peak in (("atac", 2, 3), ("dnase", 5, 10)):
            plain = Marks(world, assay, chrom)
            rows = []
            for p in range(start, end):
                top = highest(plain.here(p))
                rows.append(plain.common(p, above, 150) | {"has_peak": NAN if math.isnan(top) else float(top > peak)})
            rows = [{f"{assay}_{k}": v for k, v in row.items()} for row in rows]
            compare(found, rows, rows[0])
        assert list(found) == [c.name for c in chrom_access.COLUMNS]


def test_conservation_columns(world):
    rng = np.random.default_rng(5)
    for name in ("phylop", "phastcons"):
        world.bigwig(name)
        for values in world.tracks[name].values():  # phyloP has a sign
            values -= np.float32(rng.random())
            values[:] = values.astype(np.float32)
        write_bigwig(world.folder / f"{name}.bw", world.tracks[name], LENGTHS)
    reader = world.reader("conservation", phylop="phylop.bw", phastcons="phastcons.bw")
    for chrom, start, end, strand in each_place():
        found = world.read(reader, chrom, start, end, strand)
        rows = []
        for pos in range(start, end):
            row = {}
            for track in ("phylop", "phastcons"):
                around = [world.value(track, chrom, p) for p in range(pos - 10, pos + 11)]
                row |= {
                    f"{track}_score": world.value(track, chrom, pos),
                    f"{track}_context_mean": mean(around),
                    f"{track}_context_max": highest(around),
                    f"{track}_context_std": math.sqrt(variance(around)),
                }
            row["conservation_contrast"] = row["phylop_score"] - row["phylop_context_mean"]
            rows.append(row)
        for name in rows[0]:
            same(found[name], [r[name] for r in rows], name)
        assert set(found) == {c.name for c in conservation.COLUMNS}


PROTEINS = ("SRSF1_HepG2", "SRSF1_K562", "SRSF7_K562_rep01", "HNRNPC_HepG2", "PTBP1_K562", "DDX3X_K562", "RBFOX2_HepG2")


@pytest.fixture(scope="module")
def bound(world):
    peaks = {n: {c: random_peaks(world.rng, 25, LENGTHS[c]) for c in ("c1", "c2")} for n in PROTEINS}
    peaks["DDX3X_K562"].pop("c2")
    for name, rows in peaks.items():
        narrowpeak(world.folder / f"{name}.narrowPeak", rows)
    reader = world.reader("rbp_eclip", files={n: f"{n}.narrowPeak" for n in PROTEINS})
    return reader, peaks


def bound_at(peaks, chrom, pos, strand):
    here = [
        (name.split("_")[0], name.split("_")[1], signal, p)
        for name, rows in peaks.items()
        for a, b, s, signal, p in rows.get(chrom, [])
        if a <= pos < b and s == strand and p >= 2
    ]
    proteins = {h[0] for h in here}
    absent = NAN if chrom not in ("c1", "c2") else 0.0
    values = {
        "n_bound": len(proteins),
        "max_signal": max((h[2] for h in here), default=0),
        "max_neg_log10_pvalue": max((h[3] for h in here), default=0),
        "has_splice_regulator": bool(proteins & SPLICE_REGULATORS),
        "n_sr_proteins": len(proteins & SR_PROTEINS),
        "n_hnrnps": len(proteins & HNRNPS),
        "cell_line_breadth": len({h[1] for h in here}),
        "mean_signal": math.fsum(h[2] for h in here) / len(here) if here else 0,
    }
    return {f"rbp_{k}": v + absent for k, v in values.items()}


def test_rbp_eclip_columns(world, bound):
    reader, peaks = bound
    many = 0
    for chrom, start, end, strand in each_place():
        found = world.read(reader, chrom, start, end, strand)
        rows = [bound_at(peaks, chrom, p, strand) for p in range(start, end)]
        compare(found, rows, [c.name for c in rbp_eclip.COLUMNS])
        many = max(many, max(r["rbp_n_bound"] for r in rows))
    assert many >= 3  # the oracle met overlaps


def test_rbp_names_from_the_peaks(world, bound):
    _, peaks = bound
    lines = sorted(
        (chrom, a, b, f"{name}_rep01" if name.count("_") == 1 else name, strand, signal, p)
        for name, rows in peaks.items()
        for chrom, some in rows.items()
        for a, b, strand, signal, p in some
    )
    text = "".join(f"{c}\t{a}\t{b}\t{n}\t1000\t{s}\t{v!r}\t{p!r}\t-1\t-1\n" for c, a, b, n, s, v, p in lines)
    (world.folder / "all.narrowPeak").write_text(text)
    reader = world.reader("rbp_eclip", files={"all": "all.narrowPeak"})
    for chrom, start, end, strand in (("c1", 0, 1500, "-"), ("c2", 100, 1700, "+")):
        ours, theirs = (world.read(r, chrom, start, end, strand) for r in (bound[0], reader))
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, err_msg=name)


def test_exon_prob_column(world):
    for name in ("plus", "minus"):
        world.tracks[f"exon_{name}"] = {
            c: np.where(world.rng.random(LENGTHS[c]) < 0.8, world.rng.random(LENGTHS[c]).astype("f4"), np.nan)
            for c in ("c1", "c2")
        }
        write_bigwig(world.folder / f"exon_{name}.bw", world.tracks[f"exon_{name}"], LENGTHS)
    stranded = world.reader("exon_prob", plus="exon_plus.bw", minus="exon_minus.bw")
    both = world.reader("exon_prob", both="exon_plus.bw")
    plus_only = world.reader("exon_prob", plus="exon_plus.bw")
    for chrom, start, end, strand in each_place():
        wanted = {k: [world.value(f"exon_{k}", chrom, p) for p in range(start, end)] for k in ("plus", "minus")}
        here = wanted["plus" if strand == "+" else "minus"]
        same(world.read(stranded, chrom, start, end, strand)["exon_prob"], here)
        same(world.read(both, chrom, start, end, strand)["exon_prob"], wanted["plus"])
        alone = here if strand == "+" else [NAN] * (end - start)
        same(world.read(plus_only, chrom, start, end, strand)["exon_prob"], alone)
    assert [c.name for c in exon_prob.COLUMNS] == ["exon_prob"]


def test_genomic_gc(world):
    reader = world.reader("genomic")
    for chrom, start, end, strand in each_place():
        text = world.sequence[chrom]
        wanted = []
        for pos in range(start, end):
            around = text[max(pos - 50, 0) : pos + 51]
            wanted.append(sum(c in "GC" for c in around) / len(around))
        same(world.read(reader, chrom, start, end, strand)["gc_content"], wanted)


def all_readers(world, bound):
    return {
        "conservation": world.reader("conservation", phylop=world.bigwig("p"), phastcons=world.bigwig("q")),
        "epigenetic": marks(world, epigenetic, epigenetic.MARKS),
        "chrom_access": marks(world, chrom_access, chrom_access.ASSAYS),
        "rbp_eclip": bound[0],
    }


SAME_AS = {  # dense channel -> the column with the same values
    "h3k36me3_max": "h3k36me3_max_across_tissues", "h3k4me3_max": "h3k4me3_max_across_tissues",
    "atac_max": "atac_max_across_tissues", "dnase_max": "dnase_max_across_tissues",
}  # fmt: skip


def test_dense_is_the_value_of_each_position(world, bound):
    for name, reader in all_readers(world, bound).items():
        declared = [c.name for c in modalities.get(name).CHANNELS]
        assert [c.name for c in reader.channels] == declared
        for chrom, length in LENGTHS.items():
            for strand in "+-":
                rows = world.read(reader, chrom, 0, length, strand)
                for low, high in ((-30, length + 40), (100, 400), (length - 5, length + 5)):
                    dense = world.dense(reader, chrom, low, high, strand)
                    assert list(dense) == declared
                    for channel, values in dense.items():
                        column = rows[SAME_AS.get(channel, channel)]
                        wanted = [column[p] if 0 <= p < length else NAN for p in range(low, high)]
                        same(values, wanted, channel)


def test_sampling_and_cuts_do_not_change_values(world, bound):
    for reader in all_readers(world, bound).values():
        whole = world.read(reader, "c1", 0, 4000, "-")
        some = np.sort(world.rng.choice(4000, 300, replace=False))
        for low, high in ((0, 1234), (1234, 1235), (1235, 4000)):
            inside = some[(some >= low) & (some < high)]
            piece = world.read(reader, "c1", low, high, "-", inside)
            for name, values in piece.items():
                same(values, whole[name][inside], name)


def test_minus_strand_is_the_mirrored_plus_strand(world, bound):
    """All tracks and peaks reversed: what was said on one strand is said on the other, in reverse order."""
    (world.folder / "mirror").mkdir()
    mirrored = World(world.folder / "mirror")
    forward = all_readers(world, bound)
    for name, tracks in world.tracks.items():
        mirrored.tracks[name] = {c: v[::-1].copy() for c, v in tracks.items()}
        write_bigwig(mirrored.folder / f"{name}.bw", mirrored.tracks[name], LENGTHS)
    other = {"+": "-", "-": "+"}
    for name, rows in bound[1].items():
        turned = {
            c: sorted((LENGTHS[c] - b, LENGTHS[c] - a, other[s], v, p) for a, b, s, v, p in some)
            for c, some in rows.items()
        }
        narrowpeak(mirrored.folder / f"{name}.narrowPeak", turned)
    tables = {m: {mark: {t: f"{mark}_{t}.bw" for t in TISSUES} for mark in marks_} for m, marks_ in
              (("epigenetic", epigenetic.MARKS), ("chrom_access", chrom_access.ASSAYS))}  # fmt: skip
    backward = {
        "conservation": mirrored.reader("conservation", phylop="p.bw", phastcons="q.bw"),
        "rbp_eclip": mirrored.reader("rbp_eclip", files={n: f"{n}.narrowPeak" for n in PROTEINS}),
        **{m: mirrored.reader(m, **section) for m, section in tables.items()},
    }
    for name, reader in forward.items():
        for chrom in ("c1", "c2"):
            length = LENGTHS[chrom]
            plus = world.read(reader, chrom, 0, length, "+")
            minus = mirrored.read(backward[name], chrom, 0, length, "-")
            for column in plus:
                same(minus[column][::-1].copy(), plus[column], column)


def test_a_track_that_encodes_positions(world):
    """Value = position: every statistic has a closed form, so a shift by one base cannot hide."""
    values = {"c1": np.arange(4000, dtype=float)}
    for i, tissue in enumerate(TISSUES):
        write_bigwig(world.folder / f"pos_{tissue}.bw", {"c1": values["c1"] + i}, LENGTHS)
    table = {t: f"pos_{t}.bw" for t in TISSUES}
    reader = world.reader("epigenetic", h3k4me3=table)
    at = np.arange(600, 3400)
    for strand, sign in SIGNS.items():
        found = world.read(reader, "c1", 600, 3400, strand)
        assert np.array_equal(found["h3k4me3_max_across_tissues"], at + 2)
        assert np.array_equal(found["h3k4me3_mean_across_tissues"], at + 1)
        assert np.array_equal(found["h3k4me3_tissue_breadth"], np.full(len(at), 3))
        same(found["h3k4me3_variance"], [2 / 3] * len(at))
        same(found["h3k4me3_context_mean"], at + 1)
        up, down = at + 1 - sign * 250.5, at + 1 + sign * 250.5
        same(found["h3k4me3_exon_intron_ratio"], np.log2(up + 1) - np.log2(down + 1))
        assert np.isnan(found["h3k36me3_variance"]).all()  # not named
    dense = world.dense(reader, "c1", -2, 3, "+")
    assert list(dense) == ["h3k4me3_max"]
    assert [str(v) for v in dense["h3k4me3_max"]] == ["nan", "nan", "2.0", "3.0", "4.0"]


PHYLOP = Path(__file__).parents[2] / "shared" / "data" / "conservation" / "FBN1.phyloP.hg38.bw"


@pytest.mark.skipif(not PHYLOP.exists(), reason="the real phyloP track of FBN1 is not here")
def test_tracks_and_annotation_stand_on_the_same_base():
    """phyloP over the exons, splice dinucleotides and deep introns of FBN1's MANE transcript: 3.6, 7.5, 0.2."""
    exons = []
    with gzip.open(DATA / "gencode.v34.gtf.gz", "rt") as handle:
        for line in handle:
            fields = line.split("\t")
            if len(fields) == 9 and fields[2] == "exon" and 'gene_name "FBN1"' in line and "MANE_Select" in line:
                exons.append((int(fields[3]) - 1, int(fields[4])))
    exons.sort()
    assert len(exons) == 66
    start, end = exons[0][0], exons[-1][1]
    config = Config({"modalities": {"conservation": {"phylop": str(PHYLOP)}}})
    reader = modalities.get("conservation").open_source(Sources(config, Genome(DATA / "chr15.fa.gz")))
    for strand in "+-":
        found = reader.read(Window(None, "chr15", start, end, strand), np.arange(start, end))["phylop_score"]

        def over(pieces, found=found):
            return np.nanmean(np.concatenate([found[a - start : b - start] for a, b in pieces]))

        introns = [(a[1], b[0]) for a, b in pairwise(exons)]
        beside = [piece for a, b in introns for piece in ((a, a + 2), (b - 2, b))]
        deep = [(a + 200, b - 200) for a, b in introns if b - a > 400]
        assert over(exons) == pytest.approx(3.6, abs=0.05)
        assert over(beside) == pytest.approx(7.5, abs=0.05)
        assert over(deep) == pytest.approx(0.2, abs=0.05)
        shifted = [(a + 1, b + 1) for a, b in beside]
        assert over(shifted) < 6


def test_the_tool_writes_all_of_them(run, tmp_path):
    """ms-features with every source named: all columns there, in their ranges; a contig without evidence is null."""
    world = World(tmp_path)
    for name in ("k", "h", "d", "e"):
        world.bigwig(name)
    write_bigwig(tmp_path / "x.bw", {"c1": np.full(4000, 0.25)}, LENGTHS)
    narrowpeak(tmp_path / "n.bed", {"c1": random_peaks(world.rng, 40, 4000)})
    embeddings_file(tmp_path / "e.h5", {"c1": world.rng.normal(size=(500, 7)).astype("f4")}, 8)
    fitted_pca(tmp_path, tmp_path / "e.h5", world.genome.contigs, ["c1"])
    (tmp_path / "pwm.txt").write_text(">SRSF1\t4\n" + "0.97\t0.01\t0.01\t0.01\n" * 4)
    (tmp_path / "ms.toml").write_text(
        '[genome]\nfasta = "g.fa"\n[modalities.epigenetic]\nh3k36me3 = {K562 = "k.bw", HepG2 = "h.bw"}\n'
        '[modalities.chrom_access]\natac = "d.bw"\ndnase = {liver = "e.bw"}\n[modalities.exon_prob]\nplus = "x.bw"\n'
        '[modalities.rbp_eclip]\nfiles = {QKI_HepG2 = "n.bed"}\n[modalities.rbp_motif]\npwm = "pwm.txt"\n'
        '[modalities.fm_embeddings]\nfile = "e.h5"\npca = "pca.safetensors"\n'
    )
    (tmp_path / "r.bed").write_text("c1\t0\t4000\nc3\t0\t900\n")
    run("ms-features", "r.bed", "--background", "1", "--modalities", "all", "-o", "f.parquet")
    assert "features version" in check_file(tmp_path / "f.parquet")
    table = pq.read_table("f.parquet")
    named = ("epigenetic", "chrom_access", "rbp_eclip", "rbp_motif", "fm_embeddings", "exon_prob")
    c1 = np.array(table["chrom"].to_pylist()) == "c1"
    for column in (c.name for n in named for c in modalities.columns(n)):
        known = ~np.array(table[column].is_null())
        absent = column.startswith("epigenetic.h3k4me3")
        assert known[c1].any() != absent, column
        assert column.startswith("rbp_motif.") or not known[~c1].any(), column
    minus = np.array(table["strand"].to_pylist()) == "-"
    assert not (~np.array(table["exon_prob.exon_prob"].is_null()))[minus].any()
