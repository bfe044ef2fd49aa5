"""ms-eval as a command: streams, files, bigWigs, the page, the table, exit codes and one-line errors."""

import json
import re

import numpy as np
import pyarrow as pa
import pytest
from evaluation_case import SITES, scores_table, sites_table, synthetic, write

from libmeta import schema, streams
from libmeta.contigs import Contigs
from libmeta.evaluation_table import text_table
from libmeta.tracks import ScoreWriter

DRAWS = ("--bootstrap", "40")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Folder with sites.parquet, scores.parquet and scores.arrow."""
    folder = tmp_path_factory.mktemp("case")
    sites, scores = synthetic(genes=14, length=200_000, seed=1)
    write(folder / "sites.parquet", sites)
    for kind in ("parquet", "arrow"):
        write(folder / f"scores.{kind}", scores)
    return folder


def golden():
    """12 genes of 100 bp with the same picture, by hand: see test_golden."""
    spans, sites, rows = [], [], []
    for g in range(12):
        start = 1000 * g
        spans.append(["chr1", start, start + 100, "+", f"G{g}", True])
        sites += [
            ("chr1", start + 10, "+", "acceptor", 0, 1, 1.0),
            ("chr1", start + 20, "+", "donor", 0, 0, 1.0),
        ]
        sites += [("chr1", start + 30, "+", "donor", 1, 0, 0.0)]  # masked
        rows += [
            ("chr1", start + 10, "+", 1.0, 0.0, 0.9, 0.0, 0.9),
            ("chr1", start + 20, "+", 1.0, 0.8, 0.0, 0.4, 0.0),
            ("chr1", start + 30, "+", 1.0, 0.9, 0.0, 0.9, 0.0),
            ("chr1", start + 40, "+", 1.0, 0.2, 0.0, 0.6, 0.0),
            ("chr1", start + 50, "+", 96.0, 0.1, 0.0, 0.1, 0.0),
            ("chr1", start + 500, "+", 1.0, 0.9, 0.9, 0.9, 0.9),  # outside the scope
        ]
    return sites_table(sites, spans), scores_table(*(list(c) for c in zip(*rows, strict=True)))


def test_golden(run, tmp_path):
    """Acceptors are perfect in both. Donors: refined 0.8 > 0.2 > 0.1 is perfect; base has the false 0.6
    before the true 0.4: precision 1/2, AP 0.5. Prevalence: 12 of 12 * (1 + 1 + 1 + 96) for donors (the masked
    one is out).
    """
    sites, scores = golden()
    write(tmp_path / "sites.parquet", sites)
    write(tmp_path / "scores.parquet", scores)
    done = run("ms-eval", "scores.parquet", "--labels", "sites.parquet", *DRAWS)
    found = json.loads(done.stdout)
    donor, acceptor = found["overall"]["donor"], found["overall"]["acceptor"]
    assert (donor["base"]["ap"], donor["meta"]["ap"], donor["difference"]["ap"]) == (0.5, 1, 0.5)
    assert donor["difference"]["interval"] == [0.5, 0.5] and donor["difference"]["verdict"] == "above"
    assert donor["prevalence"] == pytest.approx(1 / 99, rel=1e-5)
    assert donor["base"]["lift"] == pytest.approx(49.5)
    assert donor["base"]["top_k"] == {"0.5": 0, "1": 0, "2": 1, "4": 1}
    plain = donor["common"]["threshold_0.5"]
    assert [plain["base"][k] for k in ("tp", "fp", "fn")] == [0, 12, 12]
    assert [plain["meta"][k] for k in ("tp", "fp", "fn")] == [12, 0, 0]
    assert plain["fn_reduction_percent"] == plain["fp_reduction_percent"] == 100
    assert donor["common"]["same_precision"] is None  # the base calls no true donor at 0.5
    assert donor["meta"]["brier"] == pytest.approx((0.04 + 0.04 + 96 * 0.01 + 0) / 99, rel=1e-5)
    assert (acceptor["base"]["ap"], acceptor["meta"]["ap"]) == (1, 1)
    assert acceptor["difference"]["verdict"] == "not distinguishable"
    assert found["overall"]["macro"]["difference"]["ap"] == 0.25
    counts = found["counts"]
    assert (counts["rows"], counts["rows_in_scope"], counts["rows_outside_scope"]) == (72, 60, 12)
    assert counts["sites"]["donor"]["masked"] == 12 and counts["weight_sum"] == 1200 == counts["scope_positions"]
    assert found["warnings"] == []


def test_stream_file_and_repeat_are_the_same(run, case, tmp_path):
    labels = ("--labels", case / "sites.parquet")
    run("ms-eval", case / "scores.parquet", *labels, *DRAWS, "-o", "a.json")
    piped = run("ms-eval", *labels, *DRAWS, stdin=(case / "scores.arrow").read_bytes()).stdout
    first, second = json.loads((tmp_path / "a.json").read_text()), json.loads(piped)
    assert first["format"] == "metrics" and first["version"] == schema.load("metrics").version
    assert first["provenance"][-1]["inputs"].keys() == {"scores", "labels"}
    assert set(first) == {k["name"] for k in schema.load("metrics").keys}
    for document in (first, second):
        document.pop("provenance")
    assert first == second
    assert json.dumps(first) == json.dumps(first, sort_keys=True) and "NaN" not in piped.decode()
    for stratum in [first["overall"], *first["strata"]]:
        if stratum["donor"]["status"] == "ok":
            low, high = stratum["donor"]["difference"]["interval"]
            assert low <= stratum["donor"]["difference"]["ap"] <= high


def test_page_table_and_multiqc(run, case, tmp_path):
    done = run(
        "ms-eval", case / "scores.parquet", "--labels", case / "sites.parquet", *DRAWS, "-o", "m.json",
        "--html", "p.html", "--multiqc", "ms_mqc.json",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "m.json").read_text())
    page = (tmp_path / "p.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page.replace('xlink:href="#', ""))
    assert not re.findall(r"url\((?!#)|@import|<script|<link", page)
    assert page.count("<svg") >= 7 and "largest gain of a site" in page and "Provenance" in page
    assert f"{metrics['overall']['donor']['meta']['ap']:.4f}" in page
    for stand_in in ("#010203", "#010206"):
        assert stand_in not in page
    section = json.loads((tmp_path / "ms_mqc.json").read_text())
    assert section["data"]["scores"]["ap_donor_base"] == metrics["overall"]["donor"]["base"]["ap"]
    assert text_table(metrics) in done.stderr.decode()
    assert done.stdout == b""
    shown = run("ms-eval", "--table", "m.json").stdout.decode()
    assert shown == text_table(metrics) + "\n" and "never below base?" in shown


def test_page_with_a_locus(run, case, tmp_path):
    sites = streams.open_table(case / "sites.parquet").table()
    pos = sites["pos"][3].as_py()
    command = (
        "ms-eval",
        case / "scores.parquet",
        "--labels",
        case / "sites.parquet",
        "--bootstrap",
        "0",
        "--html",
        "p.html",
    )
    run(*command, "--locus", f"15:{pos - 500}-{pos + 500}", "-o", "m.json")
    text = (tmp_path / "p.html").read_text()
    assert f"chr15:{pos - 500:,}-{pos + 500:,}" in text and "GENE" in text
    run(*command, "--locus", "chr15", code=2, says="too wide to draw")
    run(*command, "--locus", "chrZ:1-5", code=1, says="contig 'chrZ'")


def test_region_and_seed(run, case):
    command = ("ms-eval", case / "scores.parquet", "--labels", case / "sites.parquet", *DRAWS)
    part = json.loads(run(*command, "--region", "chr15:1-100,000", "--seed", "2").stdout)
    assert part["counts"]["regions"] == ["chr15:1-100000"] and part["bootstrap"]["seed"] == 2
    assert 0 < part["counts"]["scope_positions"] < 100_000
    run(*command, "--region", "chr15:199,990-199,999", code=3, says="no gene of the labels")


LENGTH = 30_000


def bigwigs(prefix, tracks, length=LENGTH):
    """tracks: strand -> (donor, acceptor) float32 (length,)."""
    with ScoreWriter(prefix, Contigs({"chr15": length}, "toy"), {"format": "base_scores", "version": 1}) as writer:
        for strand, (donor, acceptor) in tracks.items():
            writer.dense("chr15", 0, strand, donor, acceptor)


def test_bigwigs_equal_the_table(run, tmp_path):
    """Every base scored: the same figures from bigWigs, from a table with every row, and from a table with
    --base.
    """
    rng = np.random.default_rng(0)
    shape = (2, LENGTH)
    write(tmp_path / "sites.parquet", synthetic(genes=8, length=LENGTH, introns=4)[0])
    meta = {s: (rng.random(shape) ** 4).astype(np.float32) for s in "+-"}
    base = {s: (rng.random(shape) ** 4).astype(np.float32) for s in "+-"}
    bigwigs("meta", meta)
    bigwigs("base", base)
    columns = [
        np.repeat(["chr15"], 2 * LENGTH),
        np.repeat(np.arange(LENGTH), 2),
        np.tile(["+", "-"], LENGTH),
        np.ones(2 * LENGTH),
    ]
    scores = [np.stack([t["+"][i], t["-"][i]], 1).ravel() for t in (meta, base) for i in (0, 1)]
    write(tmp_path / "table.parquet", scores_table(*columns, *scores))
    write(tmp_path / "alone.parquet", scores_table(*columns, *scores[:2]))
    (tmp_path / "ms.toml").write_text('[base_scores.toy]\nprefix = "base"\n')
    found = []
    for arguments in (["meta", "--base", "base"], ["table.parquet"], ["alone.parquet", "--base", "toy"]):
        found.append(json.loads(run("ms-eval", *arguments, "--labels", "sites.parquet", "--bootstrap", "10").stdout))
    assert found[0]["overall"] == found[1]["overall"] == found[2]["overall"]
    assert found[0]["strata"] == found[1]["strata"] == found[2]["strata"]
    counts = found[0]["counts"]
    assert counts["rows_in_scope"] == counts["scope_positions"] == counts["weight_sum"]
    alone = json.loads(run("ms-eval", "meta", "--labels", "sites.parquet", "--html", "p.html").stdout)
    assert alone["models"] == ["meta"] and "base" not in alone["overall"]["donor"]
    assert alone["overall"]["donor"]["meta"]["ap"] == found[0]["overall"]["donor"]["meta"]["ap"]
    run(
        "ms-eval",
        "meta",
        "--base",
        "nothing",
        "--labels",
        "sites.parquet",
        code=2,
        says="[base_scores.nothing]",
    )


def test_sampling_without_weights_is_told(run, case, tmp_path):
    scores = streams.open_table(case / "scores.parquet").table()
    ones = pa.array(np.ones(scores.num_rows), pa.float32())
    scores = scores.set_column(3, scores.schema.field("weight"), ones)
    write(tmp_path / "s.parquet", scores)
    command = (
        "ms-eval",
        "s.parquet",
        "--labels",
        case / "sites.parquet",
        "--bootstrap",
        "0",
        "--html",
        "p.html",
    )
    done = run(*command)
    told = json.loads(done.stdout)["warnings"][0]
    assert "all weights are 1 (sum of weights" in told and told in done.stderr.decode()
    assert "all weights are 1" in (tmp_path / "p.html").read_text()


def test_training_chromosome_is_told(run, tmp_path):
    sites, scores = golden()
    model = {"name": "m1.ubj", "train": [["chr1", 0, 5000]], "base_trained_on": ["1"]}
    meta = streams.metadata("scores", 1, [], model=model)
    write(tmp_path / "sites.parquet", sites)
    write(tmp_path / "s.parquet", scores.replace_schema_metadata(meta))
    told = run(
        "ms-eval", "s.parquet", "--labels", "sites.parquet", "--html", "p.html", "--bootstrap", "0"
    ).stderr.decode()
    assert "the base model was trained on chromosome 1:" in told
    assert "the base model was trained on chromosome 1:" in (tmp_path / "p.html").read_text()
    assert "the model was trained on regions of chr1" in told


def test_errors(run, case, tmp_path):
    labels = ("--labels", case / "sites.parquet")
    scores = streams.open_table(case / "scores.parquet").table()

    def refused(table, code, says, given=labels):
        write(tmp_path / "x.parquet", table)
        run("ms-eval", "x.parquet", *given, "-o", "out.json", code=code, says=says)
        assert not (tmp_path / "out.json").exists()

    refused(scores.drop_columns("weight"), 1, "no column weight")
    refused(pa.concat_tables([scores, scores.slice(5, 1)]), 1, "stands twice in the scores, chr15:")
    other = pa.array(["scaffold_9"] * scores.num_rows)
    refused(scores.set_column(0, scores.schema.field("chrom"), other), 1, "no contig in common")
    away = pa.array(scores["pos"].to_numpy() + 10**7)
    refused(scores.set_column(1, scores.schema.field("pos"), away), 3, "is in the scope of the labels")
    nothing = sites_table([("chr15", 1500, "+", "donor", 0, 2, 1.0)], [["chr15", 0, 10**6, "+", "G", True]])
    write(tmp_path / "nothing.parquet", nothing)
    refused(scores, 3, "no site in the scope", ("--labels", tmp_path / "nothing.parquet"))
    refused(scores, 1, "not a sites table", ("--labels", case / "scores.parquet"))
    refused(scores, 2, "no labels", ())
    run("ms-eval", "--labels", "-", code=2, says="two tables on one standard input")


def test_cut_short(run, case):
    whole = (case / "scores.arrow").read_bytes()
    for stdin in (whole[: len(whole) // 2], b"", whole[:-400]):
        run(
            "ms-eval",
            "--labels",
            case / "sites.parquet",
            "-o",
            "m.json",
            code=4,
            stdin=stdin,
            says="standard input",
        )


def test_json_that_is_not_ours(run, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    run("ms-eval", "a.json", code=1, says="not metrics of ms-eval")
    (tmp_path / "a.json").write_text("{")
    run("ms-eval", "a.json", code=1, says="not JSON")
    run("ms-eval", "gone.json", code=1, says="no such file")


def test_sites_of_both_kinds_count_in_both():
    sites, _ = golden()
    rows = sites.select(["chrom", "pos", "strand", "site", "tier", "label", "weight"]).to_pylist()
    both = [tuple(r.values()) for r in rows] + [("chr1", 10, "+", "donor", 0, 0, 1.0)]
    from libmeta.truth import Truth

    truth = Truth(sites_table(sorted(both), streams.read_metadata(sites.schema)["genes"]), [], "sites")
    assert truth.state[:, list(truth.pos).index(10)].tolist() == [1, 1] and len(SITES) == 2


def test_page_without_matplotlib(monkeypatch):
    from libmeta import report
    from libmeta.errors import MetaError

    monkeypatch.setattr(report, "find_spec", lambda name: None)
    with pytest.raises(MetaError, match=r"pip install 'ms-tools\[report\]'"):
        report.require_matplotlib()
