"""Delta scores beside measured effects: AUC, average precision and balanced accuracy, base and meta, raw and masked.

    python tests/compare_measured.py MFASS.tsv CISPLICEAI.tsv --on 15=chr15/ms.toml --on 19=chr19/ms.toml --keep FOLDER
        -- --weights weights/spliceai -m m1-s.safetensors

Tables are told apart by their columns: MFASS (pos38, strong_lof) and CI-SpliceAI's benchmark (SpliceAffecting, with the
published SpliceAI score of each row, which is shown beside ours). What follows -- goes to ms-delta, once for each contig.
Classes by the nearest annotated site on the strand that was scored: canonical (two intronic bases), exonic, near intronic
(up to 50 bases), deep intronic. Balanced accuracy is at 0.2, and at the threshold that is best on these very rows.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score, roc_auc_score

from libmeta import config as settings
from libmeta.gene_index import GeneIndex
from libmeta.genome import Genome
from libmeta.introns import ACCEPTOR, DONOR

NEAR, REACH, FIXED = 50, 50_000, 0.2
CLASSES = ("all", "canonical", "exonic", "near intronic", "deep intronic")
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def read(path: Path) -> list[dict]:
    """chrom, pos (1-based), ref, alt, positive, and published scores by name, of every row with a verdict."""
    with open(path, newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    found = []
    for row in rows:
        if "strong_lof" in row:
            one = {"chrom": row["chrom"], "pos": int(row["pos38"]), "ref": row["ref"], "alt": row["alt"]}
            found.append({**one, "positive": row["strong_lof"] == "True", "published": {}})
        elif row["SpliceAffecting"] in ("0", "1"):
            one = {"chrom": row["#CHROM"], "pos": int(row["POS"]), "ref": row["REF"], "alt": row["ALT"]}
            told = {"published SpliceAI": float(row["SpliceAI"])} if row["SpliceAI"] else {}
            found.append({**one, "positive": row["SpliceAffecting"] == "1", "published": told})
    return found


def scored(rows: list[dict], toml: str, options: list[str], kept: Path) -> list[list[dict]]:
    """ms-delta's rows of every variant; a table that is there already is taken as it is."""
    if not kept.exists():
        source = kept.with_suffix(".vcf")
        source.write_text(
            HEAD + "".join(f"{r['chrom']}\t{r['pos']}\t.\t{r['ref']}\t{r['alt']}\t.\t.\t.\n" for r in rows)
        )
        command = [Path(sys.executable).with_name("ms-delta"), source, "--config", toml, *options, "-o", kept]
        subprocess.run([str(x) for x in command], check=True)
    found: list[list[dict]] = [[] for _ in rows]
    for row in pq.read_table(kept).to_pylist():
        if row["reason"] == "scored":
            found[row["record"]].append(row)
    return found


def region(genes: GeneIndex, chrom: str, pos: int, strand: str) -> tuple[int, str]:
    """(distance to the nearest annotated site, class) of a base (0-based)."""
    low = max(pos - REACH, 0)
    known, best = genes.annotated(chrom, strand, low, pos + REACH), (REACH, "deep intronic")
    for site in (DONOR, ACCEPTOR):
        outward = 1 if (site == DONOR) == (strand == "+") else -1  # from the site's exonic base into the intron
        for at in np.flatnonzero(known[site]) + low:
            deep = int(pos - at) * outward
            kind = (
                "exonic"
                if deep <= 0
                else "canonical"
                if deep <= 2
                else "near intronic"
                if deep <= NEAR
                else "deep intronic"
            )
            best = min(best, (abs(deep), kind))
    return best


def numbers(rows: list[dict]) -> dict[str, float]:
    """Largest delta score over genes and kinds, by model and mask."""
    out = {}
    for model in ("base", "meta"):
        for name, middle in (("raw", ""), ("masked", "masked_")):
            values = [r.get(f"{model}_{middle}ds_{k}") for r in rows for k in ("ag", "al", "dg", "dl")]
            if any(v is not None for v in values):
                out[f"{model} {name}"] = max(v for v in values if v is not None)
    return out


def balanced(score: np.ndarray, positive: np.ndarray, threshold: float) -> float:
    return ((score >= threshold)[positive].mean() + (score < threshold)[~positive].mean()) / 2


def line(score: np.ndarray, positive: np.ndarray) -> str:
    if not 0 < positive.sum() < len(positive):
        return "-\t-\t-\t-"
    best = max(balanced(score, positive, t) for t in np.unique(score))
    at = balanced(score, positive, FIXED)
    return f"{roc_auc_score(positive, score):.3f}\t{average_precision_score(positive, score):.3f}\t{at:.3f}\t{best:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--on", action="append", required=True, metavar="CONTIG=TOML")
    parser.add_argument("--keep", type=Path, required=True, help="folder of what ms-delta writes")
    typed = sys.argv[1:]
    cut = typed.index("--") if "--" in typed else len(typed)
    given, options = parser.parse_args(typed[:cut]), typed[cut + 1 :]
    worlds = dict(text.split("=", 1) for text in given.on)
    given.keep.mkdir(parents=True, exist_ok=True)
    print("table\tclass\tscores\tvariants\tpositive\tAUC\tAP\tbalanced accuracy at 0.2\tits best")
    for path in given.tables:
        found = []
        for contig, toml in worlds.items():
            rows = [r for r in read(path) if r["chrom"].removeprefix("chr") == contig]
            sources = settings.load(toml)
            genome = Genome(sources.genome())
            genes, chrom = GeneIndex(genome, sources.annotation_tiers), genome.contigs.resolve(contig)
            every = scored(rows, toml, options, given.keep / f"{path.stem}.{contig}.parquet")
            for row, rest in zip(rows, every, strict=True):
                if rest:
                    kind = min(region(genes, chrom, row["pos"] - 1, r["strand"]) for r in rest)[1]
                    found.append((kind, row["positive"], {**numbers(rest), **row["published"]}))
        names = list(dict.fromkeys(n for _, _, s in found for n in s))
        for kind in CLASSES:
            rows = [(p, s) for k, p, s in found if kind in ("all", k) and len(s) == len(names)]
            positive = np.array([p for p, _ in rows], bool)
            for name in names if len(rows) else ():
                score = np.array([s[name] for _, s in rows])
                print(
                    f"{path.stem}\t{kind}\t{name}\t{len(rows)}\t{positive.sum()}\t{line(score, positive)}", flush=True
                )


if __name__ == "__main__":
    main()
