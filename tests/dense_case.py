"""A small genome with two base models, every evidence track, genes and sites; what the files hold is kept for oracles."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from evidence_case import LENGTHS, World, embeddings_file, fitted_pca, narrowpeak, random_peaks

from libmeta import schema, streams
from libmeta.config import Config
from libmeta.features import Sources
from libmeta.genome import encode
from libmeta.site_index import SiteIndex
from libmeta.tracks import ScoreWriter

# introns of c1 and their reads in two tissues; base 700 is an acceptor and a donor of the plus strand
INTRONS = [
    (500, 700, "+", (3, 0)), (701, 900, "+", (2, 2)), (500, 900, "+", (0, 1)), (1500, 1800, "-", (7, 9)),
    (1801, 2000, "-", (1, 1)), (1500, 2000, "-", (2, 0)),
]  # fmt: skip
GENES = [
    ["c1", 100, 1200, "+", "A", True, 100, 1200],
    ["c1", 900, 2600, "-", "B", True, 900, 2600],
    ["c1", 2700, 3900, "+", "C", False, 2700, 3900],
    ["c2", 0, 1700, "-", "D", True, 0, 1700],
]
MODALITIES = (
    "conservation",
    "epigenetic",
    "chrom_access",
    "rbp_eclip",
    "exon_prob",
    "fm_embeddings",
    "rbp_motif",
    "junction",
)


class DenseWorld(World):
    """scores: {model: {strand: {contig: float32 (2, L)}}}."""

    def __init__(self, folder: Path, seed: int = 1):
        super().__init__(folder, seed)
        rng = self.rng
        self.scores = {m: {s: {} for s in "+-"} for m in ("one", "two")}
        about = {"format": "base_scores", "version": 1, "provenance": [{"tool": "ms-basescore"}]}
        for name, by_strand in self.scores.items():
            with ScoreWriter(folder / name, self.genome.contigs, about) as out:
                for chrom in ("c1", "c2"):
                    for strand in "+-":
                        values = (rng.random((2, LENGTHS[chrom])) ** 4 / 2).astype(np.float32)
                        values[:, :60] = np.nan
                        by_strand[strand][chrom] = values
                        out.dense(chrom, 0, strand, *values)
        peaks = {c: random_peaks(rng, 30, LENGTHS[c]) for c in ("c1", "c2")}
        rows = [f"c1\t{a}\t{b}\t{s}\t" for a, b, s, _ in INTRONS]
        for tissue in (0, 1):
            reads = [f"{row}{i[3][tissue]}\n" for row, i in zip(rows, INTRONS, strict=True) if i[3][tissue]]
            (folder / f"t{tissue}.tsv").write_text("chrom\tstart\tend\tstrand\tcount\n" + "".join(reads))
        vectors = {c: rng.normal(size=(LENGTHS[c] // 20, 3)).astype(np.float32) for c in ("c1", "c2")}
        vectors["c1"][7] = np.nan
        fitted_pca(folder, embeddings_file(folder / "e.h5", vectors, 20), self.genome.contigs, ["c1"])
        (folder / "pwm.txt").write_text(
            ">m\t4\n" + "".join("\t".join(".97" if j == k else ".01" for j in range(4)) + "\n" for k in (3, 2, 0, 3))
        )
        self.sections = {
            "conservation": {"phylop": self.bigwig("phylop"), "phastcons": self.bigwig("phastcons", scale=0.1)},
            "epigenetic": {"h3k36me3": {"a": self.bigwig("k36a"), "b": self.bigwig("k36b")}, "h3k4me3": self.bigwig("k4")},
            "chrom_access": {"atac": self.bigwig("atac"), "dnase": self.bigwig("dnase")},
            "rbp_eclip": {"files": {"SRSF1_HepG2": str(narrowpeak(folder / "p.narrowPeak", peaks, "SRSF1_HepG2_rep01"))}},
            "exon_prob": {"both": self.bigwig("exon", scale=0.05)},
            "fm_embeddings": {"file": "e.h5", "pca": "pca.safetensors"},
            "rbp_motif": {"pwm": "pwm.txt"},
            "junction": {"files": {"a": "t0.tsv", "b": "t1.tsv"}},
        }  # fmt: skip
        self.codes = {name: encode(text) for name, text in self.sequence.items()}

    def open(self, labels: SiteIndex | None = None, wanted=MODALITIES, models=("one", "two")) -> Sources:
        values = {
            "modalities": {m: self.sections[m] for m in wanted},
            "base_scores": {m: {"prefix": m} for m in models},
        }
        return Sources(Config(values, self.folder / "ms.toml"), self.genome, labels)

    def write_config(self, wanted=MODALITIES, models=("one", "two")) -> Path:
        lines = ["[genome]", 'fasta = "g.fa"']
        for name in models:
            lines += [f"[base_scores.{name}]", f'prefix = "{name}"']
        for name in wanted:
            lines += [f"[modalities.{name}]", *(f"{k} = {_toml(v)}" for k, v in self.sections[name].items())]
        (self.folder / "ms.toml").write_text("\n".join(lines) + "\n")
        return self.folder / "ms.toml"


def _toml(value) -> str:
    return (
        json.dumps(value)
        if isinstance(value, str)
        else f"{{{', '.join(f'{k} = {json.dumps(v)}' for k, v in value.items())}}}"
    )


def random_sites(world: World, n: int, seed: int = 1, recipe: str | None = None) -> pa.Table:
    """n sites of c1 and c2 beside splice dinucleotides, with random tiers and evidence, as a sites table."""
    rng = np.random.default_rng(seed)
    rows = set()
    while len(rows) < n:
        chrom, strand, site = rng.choice(["c1", "c2"]), rng.choice(["+", "-"]), rng.choice(["acceptor", "donor"])
        pos = int(rng.integers(2, LENGTHS[chrom] - 3))
        after = (site == "donor") == (strand == "+")
        pair = world.sequence[chrom][pos + 1 : pos + 3] if after else world.sequence[chrom][pos - 2 : pos]
        wanted = {("donor", "+"): "GT", ("acceptor", "+"): "AG", ("donor", "-"): "AC", ("acceptor", "-"): "CT"}
        if pair == wanted[site, strand]:
            rows.add((str(chrom), pos, str(strand), str(site)))
    rows = sorted(rows)
    missing = rng.random((3, n)) < 0.3
    reads = np.where(missing[0], None, rng.integers(0, 8, n))
    psi = np.where(missing[1], None, np.round(rng.random(n) ** 3, 3))
    values = {
        **{k: [r[i] for r in rows] for i, k in enumerate(("chrom", "pos", "strand", "site"))},
        "genes": [[]] * n, "transcripts": [["t"]] * n, "tier": rng.integers(0, 4, n).tolist(), "dinucleotide": ["GT"] * n,
        "reads": reads.tolist(), "psi_max": psi.tolist(), "unique_reads": [None] * n, "partners": [None] * n,
        "tissues": [None] * n, "psi_mean": [None] * n, "breadth": [None] * n,
        "label": rng.integers(0, 3, n).tolist() if recipe else [None] * n,
        "weight": np.round(rng.random(n), 2).tolist() if recipe else [None] * n,
    }  # fmt: skip
    form = schema.load("sites")
    table = pa.table({k: pa.array(values[k], form.arrow.field(k).type) for k in form.arrow.names}, schema=form.arrow)
    meta = streams.metadata(
        form.name, form.version, [{"tool": "ms-labels"}], genes=GENES, recipe=recipe, tiers=["x", "y", "z"], rule={}
    )
    return table.replace_schema_metadata(meta)


def index(world: World, table: pa.Table) -> SiteIndex:
    meta = streams.read_metadata(table.schema)
    return SiteIndex(table, GENES, world.genome.contigs, meta["recipe"], meta["tiers"], meta["rule"])


def write(path: Path, table: pa.Table) -> Path:
    with streams.Writer(path, table.schema) as out:
        out.write(table)
    return path
