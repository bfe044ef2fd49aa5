"""ms-eval by tissue: AP of each tissue, and the ranking of a site's tissues, beside their baselines."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_case import sites_table, write
from sklearn.metrics import average_precision_score
from toy_tissues import NAMES

from libmeta import streams, tissue_ranking
from libmeta.check import check_file
from libmeta.predict import scores_schema
from libmeta.site_tissues import SiteTissues
from libmeta.tissue_names import short


def evaluation_case(folder: Path, good: float) -> tuple[np.ndarray, np.ndarray]:
    """s.parquet and sites.parquet: ten genes, 8 donors each, active in two of four tissues; scores know it by `good`."""
    rng = np.random.default_rng(2)
    rows, genes, state = [], [], []
    for g in range(10):
        genes.append(["a", 1000 * g, 1000 * g + 900, "+", f"g{g}", True, 1000 * g, 1000 * g + 900])
        for i in range(8):
            kind = "donor" if i % 2 else "acceptor"
            rows.append(("a", 1000 * g + 100 * i + 50, "+", kind, 0, 0 if i % 2 else 1, 1.0))
            state.append(rng.permutation([1, 1, 0, 0]))
    state = np.array(state, np.int8)
    state[0, 0] = -1
    psi = np.where(state == 1, 0.9, np.where(state == 0, 0.01, np.nan)).astype(np.float32)
    table = sites_table(rows, genes, recipe="m2e")
    for form, values in SiteTissues(NAMES, state, psi).columns():
        table = table.append_column(form, values)
    meta = {**(table.schema.metadata or {}), b"ms.tissue_names": json.dumps(NAMES).encode()}
    write(folder / "sites.parquet", table.replace_schema_metadata(meta))
    pos = np.arange(10_000)
    p = np.full((4, 2, len(pos)), 0.001, np.float32) + rng.random((4, 2, len(pos)), np.float32) * 0.01
    for (_, at, _, kind, *_), s in zip(rows, state, strict=True):
        p[:, int(kind == "acceptor"), at] = 0.4 + good * (s == 1) + 0.1 * rng.random(4)
    base = np.full((2, len(pos)), 0.002, np.float32)
    for _, at, _, kind, *_ in rows:
        base[int(kind == "acceptor"), at] = 0.5
    values = {"chrom": ["a"] * len(pos), "pos": pos, "strand": ["+"] * len(pos), "weight": np.ones(len(pos), "f4")}
    values |= {"donor": p[:, 0].mean(0), "acceptor": p[:, 1].mean(0), "neither": np.zeros(len(pos), "f4")}
    values |= {"base_donor": base[0], "base_acceptor": base[1]}
    for t, name in enumerate(NAMES):
        values |= {f"donor.{short(name)}": p[t, 0], f"acceptor.{short(name)}": p[t, 1]}
    form = scores_schema(NAMES)
    about = {"name": "m", "tissues": {"names": NAMES, "activity": [0.5, 0.51, 0.49, 0.5]}}
    meta = streams.metadata("scores", 1, [{"tool": "t"}], model=about)
    write(folder / "s.parquet", pa.table(values, schema=form).replace_schema_metadata(meta))
    return p, state


def evaluate(run, *more):
    run("ms-eval", "s.parquet", "--labels", "sites.parquet", "--bootstrap", "50", "-o", "m.json", *more)
    check_file(Path("m.json"))
    return json.loads(Path("m.json").read_text())["tissues"]


def test_evaluation_by_tissue_against_scikit_learn(run, tmp_path):
    p, state = evaluation_case(tmp_path, 0.05)
    found = evaluate(run)
    sites = pq.read_table("sites.parquet").select(["pos", "site"]).to_pydict()
    scope = (np.arange(10_000) % 1000) < 900
    for t, entry in enumerate(found["by_tissue"]):
        assert entry["name"] == NAMES[t]
        for k, kind in enumerate(("donor", "acceptor")):
            label, keep = np.zeros(10_000, bool), scope.copy()
            for at, one, s in zip(sites["pos"], sites["site"], state, strict=True):
                if one == kind:
                    label[at], keep[at] = s[t] == 1, s[t] >= 0
            assert entry[kind]["active"] == label[keep].sum()
            assert entry[kind]["meta"]["ap"] == pytest.approx(
                average_precision_score(label[keep], p[t, k][keep]), abs=1e-4
            )
            blind = average_precision_score(label[keep], p[:, k].mean(0)[keep])
            assert entry[kind]["blind"]["ap"] == pytest.approx(blind, abs=1e-4)
    within = found["within_site"]
    kind = np.array(sites["site"]) == "acceptor"
    score = p[:, kind.astype(int), sites["pos"]].T
    assert within["sites"] == 80 and within["genes"] == 10
    assert within["meta"]["mean"] == pytest.approx(tissue_ranking.average_precision(score, state).mean(), abs=1e-5)
    assert within["chance"]["mean"] == pytest.approx(tissue_ranking.chance(state).mean(), abs=1e-5)


def test_a_model_that_knows_the_tissues_and_one_that_does_not(run, tmp_path):
    evaluation_case(tmp_path, 0.5)
    found = evaluate(run)
    assert found["within_site"]["meta"]["mean"] == 1 and found["within_site"]["above_chance"]["verdict"] == "above"
    assert found["within_site"]["above_tissue_prior"]["verdict"] == "above"
    assert found["mean"]["above_blind"]["verdict"] == found["mean"]["above_base"]["verdict"] == "above"
    evaluation_case(tmp_path, 0.0)
    found = evaluate(run)
    assert found["within_site"]["above_chance"]["verdict"] == "not distinguishable"
    assert found["within_site"]["meta_auc"]["mean"] == pytest.approx(0.5, abs=0.15)


def test_labels_of_other_tissues_are_refused(run, tmp_path):
    evaluation_case(tmp_path, 0.5)
    table = pq.read_table("sites.parquet")
    meta = {**table.schema.metadata, b"ms.tissue_names": json.dumps(["w", "x", "y", "z"]).encode()}
    write(tmp_path / "sites.parquet", table.replace_schema_metadata(meta))
    run("ms-eval", "s.parquet", "--labels", "sites.parquet", code=1, says="no tissue in common")
