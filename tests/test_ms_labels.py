"""ms-labels as users run it: outputs, labels, regions, one-line errors."""

import gzip
import io
import json
import subprocess
import sys

import annotation_case as case
import junction_case as jc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_fasta

from libmeta import streams
from libmeta.contigs import Contigs
from libmeta.regions import read_bed


@pytest.fixture
def folder(tmp_path):
    """a genome, a GTF with tags, junctions of two tissues."""
    made = case.many_genes()
    made += [case.replace(t, name=t.name + "x", exons=(t.exons[0], t.exons[2]), tags=()) for t in made[:6]]
    case.genome_of(tmp_path, made)
    case.write(tmp_path / "a.gtf", case.gtf(made))
    case.write(tmp_path / "a.gff3.gz", case.gff3(made, "ncbi"), "gzip")
    junctions = jc.of(made)
    case.write(tmp_path / "liver.bed", jc.bed6(junctions[:40]))
    case.write(tmp_path / "brain.tab", jc.star([jc.Junction(j.start, j.end, j.strand, 1) for j in junctions[:1]]))
    return tmp_path


def table(path):
    return pq.read_table(path).to_pylist()


TIERS = ("--tier", "basic=a.gtf:basic", "--tier", "all=a.gtf")


def test_file_stream_and_bed_tell_the_same(folder, run):
    run("ms-labels", "--genome", "genome.fa", *TIERS, "-o", "s.parquet")
    rows = table("s.parquet")
    assert len(rows) == 120
    assert rows == sorted(rows, key=lambda r: (r["pos"], r["strand"], r["site"]))
    assert {r["label"] for r in rows} == {None}
    streamed = run("ms-labels", "--genome", "genome.fa", *TIERS, "--output-format", "table")
    stream = streams.open_table("-", io.BufferedReader(io.BytesIO(streamed.stdout)))
    assert stream.expect("sites").table().to_pylist() == rows
    run("ms-labels", "--genome", "genome.fa", *TIERS, "-o", "s.bed")
    lines = [x.split("\t") for x in (folder / "s.bed").read_text().splitlines() if x[0] != "#"]
    assert [(x[0], int(x[1]), int(x[2]) - 1, x[3], x[5]) for x in lines] == [
        (r["chrom"], r["pos"], r["pos"], f"{r['site']}:{r['tier']}", r["strand"]) for r in rows
    ]
    checked = subprocess.run([sys.executable, "-m", "libmeta.schema", "s.parquet"], capture_output=True, cwd=folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_metadata_and_genes_bed(folder, run):
    evidence = ("--junctions", "liver=liver.bed", "--junctions", "brain.tab")
    recipe = ("--recipe", "m3", "--reference", "basic")
    done = run(
        "ms-labels",
        "--genome",
        "genome.fa",
        *TIERS,
        *evidence,
        *recipe,
        "-o",
        "s.parquet",
        "--genes-bed",
        "g.bed",
    )
    found = streams.open_table("s.parquet")
    meta = found.metadata
    assert (meta["format"], meta["recipe"], meta["tiers"]) == ("sites", "m3", ["basic", "all"])
    assert all(g[5] for g in meta["genes"])  # m3 lists measured genes only
    spans = read_bed(folder / "g.bed", Contigs({"chr1": case.LENGTH}, "x"))
    assert [(r.chrom, r.start, r.end, r.strand, r.name) for r in spans] == [tuple(g[:5]) for g in meta["genes"]]
    step = meta["provenance"][-1]
    assert step["tool"] == "ms-labels"
    assert set(step["inputs"]) == {"genome", "tier 0 basic", "tier 1 all", "junctions 0 liver", "junctions 1"}
    told = done.stderr.decode()
    assert "recipe m3: " in told
    assert "of 120 sites" not in told
    assert "junctions: 68 of 68 sites (100.0%) are annotated" in told
    rows = table("s.parquet")
    # the one read in brain is below min_support
    assert {t for r in rows for t in r["tissues"] or []} == {"liver"}
    assert {r["weight"] for r in rows if r["tier"] == 0} == {0}


def test_m1_and_ms_toml(folder, run):
    (folder / "ms.toml").write_text(
        '[genome]\nfasta = "genome.fa"\n[annotation]\n'
        'tiers = [{name = "basic", gtf = "a.gff3.gz", tag = "basic"}, {name = "all", gtf = "a.gff3.gz"}]\n'
        '[modalities.junction]\nfiles = {liver = "liver.bed"}\n'
    )
    run("ms-labels", "--recipe", "m1", "-o", "s.parquet")
    rows = table("s.parquet")
    assert all(r["weight"] == (r["tier"] == 0) for r in rows)
    assert all(r["label"] == ["donor", "acceptor"].index(r["site"]) for r in rows)
    assert max(r["reads"] or 0 for r in rows) > 0


@pytest.fixture
def tiered(folder):
    """The same folder where five genes have an alternative transcript with two sites of its own."""
    made = case.many_genes()
    for t in made[:5]:
        first, middle, last = t.exons
        other = first, (middle[0] + 20, middle[1] - 20), last
        made.append(case.replace(t, name=t.name + "x", exons=other, tags=()))
    case.genome_of(folder, made)
    case.write(folder / "a.gtf", case.gtf(made))
    return folder


def test_sites_that_are_not_canonical(tiered, run):
    """Their genes are the scope; the canonical sites in them are masked, or negative where that is asked for."""
    common = ("--genome", "genome.fa", *TIERS, "--recipe", "m2b", "-o", "s.parquet")
    run("ms-labels", *common)
    rows, scope = table("s.parquet"), {g[4] for g in streams.open_table("s.parquet").metadata["genes"]}
    positive = [r for r in rows if r["weight"] > 0]
    assert len(positive) == 10
    assert {r["tier"] for r in positive} == {1}
    assert {g for r in positive for g in r["genes"]} == scope
    assert {g for r in rows for g in r["genes"]} > scope
    run("ms-labels", *common, "--others", "negative", "--minus", "basic")
    assert len(table("s.parquet")) == len(rows)
    assert all((r["label"] == 2) == (r["tier"] == 0) and r["weight"] == 1 for r in table("s.parquet"))


def test_weights_by_tier(tiered, run):
    run("ms-labels", "--genome", "genome.fa", *TIERS, "--recipe", "m2c", "--tier-weights", "all=0.2", "-o", "s.parquet")
    assert {(r["tier"], round(r["weight"], 4)) for r in table("s.parquet")} == {(0, 1.0), (1, 0.2)}
    assert streams.open_table("s.parquet").metadata["rule"] == {"tier_weights": [1.0, 0.2, 0.65]}


def test_hidden_sites(folder, run):
    """The same lot each time and whatever else is asked for; told for training as neither, listed for evaluation."""
    common = ("--genome", "genome.fa", *TIERS, "--recipe", "m2")
    run("ms-labels", *common, "-o", "all.parquet")
    done = run("ms-labels", *common, "--hide", 0.4, "--hidden", "h.parquet", "-o", "s.parquet")
    told, hidden = table("s.parquet"), table("h.parquet")
    lot = [r["label"] == 2 for r in told]
    assert f"{sum(lot)} positive sites hidden" in done.stderr.decode()
    assert 0.2 < sum(lot) / len(lot) < 0.6
    assert [r["weight"] for r in hidden] == [float(x) for x in lot]
    assert {r["weight"] for r in told} == {1}
    plain = table("all.parquet")
    for rows in (told, hidden):
        assert [{**r, "label": None, "weight": None} for r in rows] == [
            {**r, "label": None, "weight": None} for r in plain
        ]
    assert [r["label"] for r in hidden] == [r["label"] for r in plain]
    run("ms-labels", *common, "--hide", 0.4, "--region", "chr1:1,001-9,000", "-o", "part.parquet")
    key = {(r["pos"], r["strand"], r["site"]): r["label"] for r in told}
    assert all(key[r["pos"], r["strand"], r["site"]] == r["label"] for r in table("part.parquet"))
    run("ms-labels", *common, "--hide", 0.4, "--seed", 2, "-o", "other.parquet")
    assert [r["label"] for r in table("other.parquet")] != [r["label"] for r in told]


def test_regions(folder, run):
    common = ("--genome", "genome.fa", *TIERS, "-o", "s.parquet")
    run("ms-labels", *common, "--region", "1:1,001-3,000:+", "--region", "chr1:5001-6000")
    where = [(r["pos"], r["strand"]) for r in table("s.parquet")]
    assert where
    assert all((1000 <= p < 3000 and s == "+") or 5000 <= p < 6000 for p, s in where)
    (folder / "r.bed").write_text("chr1\t1000\t3000\tx\t0\t+\nchr1\t5000\t6000\n")
    run("ms-labels", *common, "--bed", "r.bed")
    assert [(r["pos"], r["strand"]) for r in table("s.parquet")] == where
    run("ms-labels", *common, "--genes-only", "G3,NG4")
    assert {g for r in table("s.parquet") for g in r["genes"]} == {"G3", "G4"}


def test_pipe_ends_with_the_reader(folder, run, shell):
    shell("ms-labels -q --genome genome.fa -O bed a.gtf | head -1")


def test_help_is_light(run):
    code = "import sys, ms_labels; assert not {'numpy', 'pyarrow', 'pysam', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert b"--junctions" in run("ms-labels", "--help").stdout


def test_same_bytes_twice(folder, run):
    for name in ("x", "y"):
        (folder / name).mkdir()
        run("ms-labels", "--genome", "genome.fa", *TIERS, "--junctions", "liver.bed", "-o", f"{name}/s.arrow")
    first, second = ((folder / n / "s.arrow").read_bytes() for n in "xy")
    assert first.replace(b"x/s.arrow", b"y/s.arrow") == second


ERRORS = [  # arguments, exit code, in the message
    (["none.gtf"], 1, "no such file, none.gtf"),
    (["cut.gtf.gz"], 4, "truncated or damaged gzip, cut.gtf.gz"),
    (["bare.gtf"], 1, "no exon lines, bare.gtf"),
    (["two.gtf"], 1, "exons on two strands, two.gtf line 4"),
    (["moved.gtf"], 1, "another build"),
    (["a.gtf", "--junctions", "moved.bed"], 1, "have splice dinucleotides, moved.bed; likely another build"),
    (["a.gtf", "--junctions", "past.bed"], 1, "junction ends at 25,000, past chr1"),
    (["a.gtf", "--recipe", "m3"], 2, "recipe m3 needs junction evidence"),
    (["a.gtf", "--reference", "0"], 2, "--reference is for labels of m3"),
    (["a.gtf", "--recipe", "m3", "--junctions", "liver.bed", "--reference", "MANE"], 2, "no tier 'MANE'"),
    ([*TIERS, "--recipe", "m2", "--minus", "basic"], 2, "--minus is for labels of m2a and m2b, not of m2"),
    ([*TIERS, "--recipe", "m2b", "--minus", "MANE"], 2, "no tier 'MANE', --minus; the tiers are basic, all"),
    ([*TIERS, "--recipe", "m2b", "--minus", "0,1"], 3, "no site is positive under m2b; check --minus"),
    ([*TIERS, "--recipe", "m2c", "--tier-weights", "1,-0.5"], 2, "weight '-0.5' is not a number from 0 on"),
    ([*TIERS, "--recipe", "m2c", "--tier-weights", "1,nan"], 2, "weight 'nan' is not a number from 0 on"),
    ([*TIERS, "--recipe", "m2c", "--tier-weights", "1,0.5,0.3"], 2, "3 weights for 2 tiers"),
    ([*TIERS, "--recipe", "m2c", "--tier-weights", "basic=1,novel=2"], 2, "no tier 'novel', --tier-weights"),
    ([*TIERS, "--hide", "0.5"], 2, "--hide is for labels to train on"),
    ([*TIERS, "--recipe", "m2b", "--hide", "0.5"], 2, "--hide is for labels to train on"),
    ([*TIERS, "--recipe", "m2", "--hidden", "h.parquet"], 2, "--hidden without --hide"),
    (["a.gtf", "--tier", "x=a.gtf"], 2, "both as arguments and with --tier"),
    (["--tier", "a.gtf"], 2, "not NAME=FILE[:TAG]"),
    ([], 2, "no annotation"),
    (["a.gtf", "--region", "chr9"], 1, "contig 'chr9' is not in the genome"),
    (["a.gtf", "--region", "chr1:19990-19999"], 3, "no gene and no site"),
    (["a.gtf", "--genes-only", "G99"], 1, "gene G99 is not in the annotation"),
    (
        ["a.gtf", "--recipe", "m3", "--junctions", "liver.bed", "--genes-only", "G29"],
        3,
        "covered by junction evidence",
    ),
    (["a.gtf", "--genome", "none.fa"], 1, "no such genome file"),
    (["a.gtf", "-o", "none/s.parquet"], 1, "no folder to write to"),
    (["a.gtf", "--psi", "a.gtf"], 1, "a.gtf"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors(folder, run, arguments, code, says):
    text = (folder / "a.gtf").read_text()
    (folder / "cut.gtf.gz").write_bytes(gzip.compress(text.encode())[:-20])
    (folder / "bare.gtf").write_text(text.replace("\texon\t", "\tCDS\t"))
    lines = text.splitlines(keepends=True)
    (folder / "two.gtf").write_text("".join(lines[:3]) + lines[3].replace("CDS", "exon").replace("\t+\t", "\t-\t"))
    off = [case.replace(t, exons=tuple((s + 9, e + 9) for s, e in t.exons)) for t in case.many_genes()]
    (folder / "moved.gtf").write_text(case.gtf(off))
    (folder / "moved.bed").write_text(jc.bed6(jc.of(off)))
    (folder / "past.bed").write_text("chr1\t100\t25000\t.\t5\t+\n")
    output = [] if "-o" in arguments else ["-o", "out.parquet"]
    genome = [] if "--genome" in arguments else ["--genome", "genome.fa"]
    run("ms-labels", *arguments, *genome, *output, code=code, says=says)
    assert not (folder / "out.parquet").exists()
    assert not list(folder.glob(".*.tmp"))


def test_masked_genome_leaves_the_build_open(folder, run):
    write_fasta(folder / "n.fa", {"chr1": "N" * case.LENGTH})
    done = run("ms-labels", "--genome", "n.fa", "a.gtf", "-o", "s.parquet")
    assert b"strand" not in done.stderr
    assert {r["dinucleotide"] for r in table("s.parquet")} == {"NN"}


def test_stream_is_arrow_with_an_end_mark(folder, run):
    done = run("ms-labels", "-q", "--genome", "genome.fa", "a.gtf", "-o", "-")
    assert done.stderr == b""
    schema = pa.ipc.open_stream(done.stdout).schema
    assert json.loads(schema.metadata[b"ms.format"]) == "sites"
