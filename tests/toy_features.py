"""A features stream with a known law, for tests of training: sites depend on a base score and on one evidence column."""

import numpy as np
import pyarrow as pa

from libmeta import schema, streams
from libmeta.modalities import columns

FEATURES = {
    "base_scores.donor_score": "base_scores", "base_scores.acceptor_score": "base_scores",
    "conservation.phylop_score": "conservation", "junction.junction_log1p": "junction",
}  # fmt: skip


def table(n=20_000, seed=1, junction=True, signal=True, chrom="chr1", base=True) -> pa.Table:
    """n positions every 50 bases; 2 % sites, half of each kind; base score and phyloP both tell, phyloP only if signal."""
    rng = np.random.default_rng(seed)
    kind = np.where(rng.random(n) < 0.02, rng.integers(0, 2, n), 2).astype(np.uint8)
    site = kind < 2
    p = np.clip(rng.beta(0.05, 5, (n, 2)), 1e-6, 0.49)
    p[site, kind[site]] = np.clip(rng.beta(1, 1.5, site.sum()), 1e-6, 0.999)
    p[:, 1] = np.minimum(p[:, 1], 0.999 - p[:, 0])
    phylop = rng.normal(0, 1, n) + 3 * (site & signal)
    form = schema.load("features")
    values = {
        "chrom": [chrom] * n, "pos": np.arange(n) * 50, "strand": ["+"] * n, "weight": np.ones(n, "f4"),
        "label.site": kind, "label.tier": np.where(site, 0, np.nan), "label.reads": np.full(n, np.nan),
        "label.psi": np.where(site, 0.3 + 0.7 * p.max(axis=1), np.nan), "label.measured": np.ones(n, bool),
        "label.gene": [f"g{i // 500}" for i in range(n)], "label.class": np.full(n, np.nan), "label.weight": np.full(n, np.nan),
        "base_scores.donor_score": p[:, 0].astype("f4"), "base_scores.acceptor_score": p[:, 1].astype("f4"),
        "conservation.phylop_score": phylop.astype("f4"), "junction.junction_log1p": (site * 3.0).astype("f4"),
    }  # fmt: skip
    names = [k for k, m in FEATURES.items() if (junction or m != "junction") and (base or m != "base_scores")]
    described = {c.name: c for m in set(FEATURES.values()) for c in columns(m)}
    fields = [c.field for c in form.columns] + [described[n].field for n in names]
    meta = streams.metadata(
        form.name, form.version, [{"tool": "ms-features"}], modalities={}, sampling={}, recipe=None, regions_bp=n,
        base_models=[{"name": "toy", "licence": "none", "trained_on": ["2"]}],
    )  # fmt: skip
    arrays = [pa.array(values[f.name], f.type, from_pandas=True) for f in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields).with_metadata(meta))


def write(path, rows: pa.Table):
    with streams.Writer(path, rows.schema) as out:
        out.write(rows)
    return path
