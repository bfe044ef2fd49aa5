"""Synthetic labels and scores for the tests of ms-eval: genes, sites, a base model and a better one, sampled
with weights.
"""

import numpy as np
import pyarrow as pa

from libmeta import schema, streams

SITES = ("donor", "acceptor")


def sites_table(rows, genes, recipe="m1", tiers=("MANE", "basic", "comprehensive")) -> pa.Table:
    """rows: (chrom, pos, strand, site, tier, label, weight); other columns are empty."""
    columns = dict(
        zip(
            ("chrom", "pos", "strand", "site", "tier", "label", "weight"),
            zip(*rows, strict=True),
            strict=True,
        )
    )
    form = schema.load("sites").arrow
    arrays = []
    for field in form:
        if field.name in columns:
            arrays.append(pa.array(list(columns[field.name]), field.type))
        elif field.name in ("genes", "transcripts"):
            arrays.append(pa.array([[]] * len(rows), field.type))
        elif field.name == "dinucleotide":
            arrays.append(pa.array(["GT"] * len(rows), field.type))
        else:
            arrays.append(pa.nulls(len(rows), field.type))
    meta = streams.metadata("sites", 1, [], genes=genes, tiers=list(tiers), recipe=recipe)
    return pa.Table.from_arrays(arrays, schema=form.with_metadata(meta))


def scores_table(
    chrom, pos, strand, weight, donor, acceptor, base_donor=None, base_acceptor=None, model=None
) -> pa.Table:
    """A table in the scores format; without base scores these columns are null."""
    n = len(pos)
    form = schema.load("scores").arrow
    values = {
        "chrom": chrom, "pos": pos, "strand": strand, "weight": weight, "donor": donor, "acceptor": acceptor,
        "neither": np.maximum(0, 1 - np.asarray(donor, np.float32) - np.asarray(acceptor, np.float32)),
        "base_donor": base_donor, "base_acceptor": base_acceptor,
    }  # fmt: skip
    arrays = [pa.nulls(n, f.type) if values[f.name] is None else pa.array(values[f.name], f.type) for f in form]
    meta = streams.metadata("scores", 1, [], model=model or {"name": "toy"})
    return pa.Table.from_arrays(arrays, schema=form.with_metadata(meta))


def write(path, table: pa.Table) -> str:
    """Write a table where it belongs; gives the path as text."""
    with streams.Writer(path, table.schema) as writer:
        writer.write(table)
    return str(path)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def synthetic(genes=40, length=2_000_000, seed=0, introns=8, background=0.05, chroms=("chr15",), gain=1.5):
    """(sites, scores) of a realistic case: tiers, both strands, sampled negatives, a base model and a better
    one.
    """
    rng = np.random.default_rng(seed)
    spans, rows = [], []
    out = {k: [] for k in ("chrom", "pos", "strand", "weight", "donor", "acceptor", "base_donor", "base_acceptor")}
    step = length * len(chroms) // genes
    for g in range(genes):
        chrom, strand = chroms[g % len(chroms)], "+-"[rng.integers(2)]
        start = 1000 + (g // len(chroms)) * step
        end = start + int(step * rng.uniform(0.5, 0.9))
        spans.append([chrom, start, end, strand, f"GENE{g}", True])
        places = np.sort(rng.choice(np.arange(start, end, 50), 2 * introns, replace=False))
        for i, pos in enumerate(places):
            site = SITES[i % 2] if strand == "+" else SITES[1 - i % 2]
            tier = int(rng.choice([0, 1, 2], p=[0.8, 0.12, 0.08]))
            rows.append((chrom, int(pos), strand, site, tier, SITES.index(site), 1.0))
        logits = rng.normal(-12, 3.4, (2, end - start))  # donor, acceptor of the base model
        better = logits - 0.8 + rng.normal(0, 1.0, logits.shape)
        for _, pos, _, _, tier, label, _ in rows[-2 * introns :]:
            truth = rng.normal([4, 0, -2][tier], 2.5)
            logits[label, pos - start] = truth
            better[label, pos - start] = truth + rng.normal(gain, 1.0)
        base, meta = _sigmoid(logits), _sigmoid(better)
        certain = base.max(axis=0) >= 0.01
        certain[places - start] = True
        taken = np.flatnonzero(certain | (rng.random(end - start) < background))
        out["chrom"] += [chrom] * len(taken)
        out["strand"] += [strand] * len(taken)
        out["pos"].append(start + taken)
        out["weight"].append(np.where(certain[taken], 1.0, 1 / background))
        for name, scores in (("", meta), ("base_", base)):
            for label, site in enumerate(SITES):
                out[name + site].append(scores[label, taken])
    rows.sort()
    merged = {k: v if k in ("chrom", "strand") else np.concatenate(v) for k, v in out.items()}
    order = np.lexsort((merged["strand"], merged["pos"], merged["chrom"]))
    merged = {k: np.asarray(v)[order] for k, v in merged.items()}
    return sites_table(rows, spans), scores_table(**merged)
