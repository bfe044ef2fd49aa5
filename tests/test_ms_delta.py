"""ms-delta as users run it: records in = records out, every format, pipes, and mistakes in one line."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pysam
import pytest
from conftest import DATA, random_sequence, write_fasta
from pysam import bcftools
from random_weights import random_net, write_keras
from test_basemodels import real_spliceai

from libmeta.check import check_file
from libmeta.delta import KINDS

SHARED = Path(__file__).parents[2] / "shared" / "data" / "golden" / "spliceai.test.hg19.fa"
SEQUENCE = random_sequence(3000, seed=8)
HEADER = """##fileformat=VCFv4.2
##FILTER=<ID=q10,Description="low">
##INFO=<ID=AC,Number=A,Type=Integer,Description="count">
##INFO=<ID=FLAG,Number=0,Type=Flag,Description="flag">
##FORMAT=<ID=GT,Number=1,Type=String,Description="genotype">
##contig=<ID=c1,length=3000>
##contig=<ID=c2>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2
"""


def other(pos: int) -> str:
    """A base that the genome does not have at pos (1-based)."""
    return "A" if SEQUENCE[pos - 1] != "A" else "G"


def record(pos: int, ref: str | None = None, alt: str | None = None, chrom: str = "c1", info: str = "FLAG;AC=3") -> str:
    ref = SEQUENCE[pos - 1] if ref is None else ref
    return f"{chrom}\t{pos}\trs{pos};x\t{ref}\t{alt or other(pos)}\t50.50\tq10\t{info}\tGT\t0|1\t./."


MIXED = [
    record(500), record(501, alt=f"{other(501)},*,<DEL>"), record(700, SEQUENCE[699:704], SEQUENCE[699]),
    record(800, alt=SEQUENCE[799] + "ACGTAC", info="."), record(900, SEQUENCE[899:903], "TTACC"), record(950, alt="."),
    record(1000, alt="R"), record(1100, ref=other(1100), alt="T"), record(2999, SEQUENCE[2998:] + "A", "A"),
    record(10, chrom="c2"), record(1200, alt=SEQUENCE[1199]), record(1, alt=other(1)), record(3000, alt="C[c1:5["),
]  # fmt: skip
STATUS = [
    "scored", "scored,star,symbolic", "scored", "scored", "scored", "missing", "iupac", "ref_mismatch", "beyond_contig",
    "unknown_contig", "scored", "scored", "symbolic",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Genome, genes, weights and a mixed VCF; the options that name the first three."""
    folder = tmp_path_factory.mktemp("world")
    letters = list(SEQUENCE)
    write_fasta(folder / "g.fa", {"c1": "".join(letters)})
    (folder / "genes.txt").write_text(
        "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n"
        "ONE\tc1\t+\t400\t1000\t400,\t1000,\nTWO\tc1\t-\t600\t2000\t600,\t2000,\nTHREE,X\tc1\t+\t650\t990\t650,\t990,\n"
    )
    (folder / "w").mkdir()
    write_keras(folder / "w" / "m.h5", random_net(40))
    (folder / "in.vcf").write_text(HEADER + "\n".join(MIXED) + "\n")
    options = ["--weights", folder / "w", "--genome", folder / "g.fa", "--threads", 1]
    return folder, [*options, "--genes", folder / "genes.txt", "-D", 50]


def lines(text: bytes | str) -> list[list[str]]:
    text = text.decode() if isinstance(text, bytes) else text
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


def info(column: str) -> dict[str, str]:
    return dict(e.partition("=")[::2] for e in column.split(";"))


def bcftools_view(path: Path) -> bytes:
    """The file through bcftools (the one that pysam brings, where there is no other), which may say nothing on stderr."""
    code = "import pysam.bcftools, sys; sys.stdout.write(pysam.bcftools.view('--no-version', sys.argv[1]))"
    command = ["bcftools", "view", "--no-version"] if shutil.which("bcftools") else [sys.executable, "-c", code]
    done = subprocess.run([*command, str(path)], capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == b""
    return done.stdout


def test_every_record_comes_out_as_it_was(run, world, tmp_path):
    folder, options = world
    done = run("ms-delta", folder / "in.vcf", *options, "-o", "out.vcf")
    found = lines((tmp_path / "out.vcf").read_text())
    assert len(found) == len(MIXED)
    for was, now, status in zip(lines("\n".join(MIXED)), found, STATUS, strict=True):
        assert now[:7] + now[8:] == was[:7] + was[8:]
        assert was[7] == "." or now[7].startswith(f"{was[7]};")
        entries = info(now[7])
        assert entries["MS_STATUS"] == status
        assert ("SpliceAI" in entries) == ("scored" in status)
    told = done.stderr.decode()
    assert "13 records, 15 alleles: 7 scored, 1 beyond_contig, 1 iupac, 1 missing, 1 ref_mismatch, 1 star" in told
    assert "REF is not what the genome has at 1 of 8 alleles" in told
    assert bcftools_view(tmp_path / "out.vcf").count(b"\nc1\t") == 12


def test_strings_and_fields_agree(run, world):
    folder, options = world
    found = lines(run("ms-delta", folder / "in.vcf", *options, "-q").stdout)
    entries = info(found[2][7])
    parts = [s.split("|") for s in entries["SpliceAI"].split(",")]
    assert [p[:2] for p in parts] == [[SEQUENCE[699], g] for g in ("ONE", "TWO", "THREE_X")]
    for i, kind in enumerate(KINDS):
        top = max(parts, key=lambda p: float(p[2 + i]))
        score, place = entries[f"MS_DS_{kind.upper()}"], entries[f"MS_DP_{kind.upper()}"]
        assert abs(float(score) - float(top[2 + i])) <= 0.005001
        assert -51 <= int(place) <= 55
        assert place in [p[6 + i] for p in parts]
    assert float(entries["MS_DS"]) == max(float(entries[f"MS_DS_{k.upper()}"]) for k in KINDS) > 0
    # no annotated intron: every loss is masked, no gain is
    assert entries["MS_DS_AL_MASKED"] == "0.0000"
    assert entries["MS_DP_AL_MASKED"] == "."
    assert entries["MS_DS_DG_MASKED"] == entries["MS_DS_DG"]
    same = info(found[10][7])
    assert {same[f"MS_DS_{k.upper()}"] for k in KINDS} == {"0.0000"}
    intergenic = [s.split("|") for s in info(found[11][7])["SpliceAI"].split(",")]
    assert [s[1] for s in intergenic] == [".", "."]


@pytest.mark.parametrize("ending", ["vcf.gz", "bcf", "u.bcf"])
def test_formats_hold_the_same_and_are_indexed(run, world, tmp_path, ending):
    folder, options = world
    plain = lines(run("ms-delta", folder / "in.vcf", *options).stdout)
    uncompressed = ["-O", "u"] if ending[0] == "u" else ["--write-index"]
    ordered = HEADER + "\n".join(m for m in MIXED if m not in (MIXED[9], MIXED[11])) + "\n"
    (tmp_path / "in.vcf").write_text(
        ordered.replace(MIXED[8] + "\n", "").replace(MIXED[12], MIXED[8] + "\n" + MIXED[12])
    )
    run("ms-delta", "in.vcf", *options, "-o", f"out.{ending}", *uncompressed)
    found = {tuple(x[:5]): info(x[7]) for x in lines(bcftools_view(tmp_path / f"out.{ending}"))}
    assert len(found) == len(MIXED) - 2
    for row in plain:
        if row[1] not in ("10", "1"):
            theirs = found[tuple(row[:5])]
            for key, value in info(row[7]).items():
                if "MS_DS" in key:
                    numbers = [[float(x) for x in v.split(",") if x != "."] for v in (value, theirs[key])]
                    assert numbers[0] == pytest.approx(numbers[1], abs=1e-6)
                else:
                    assert theirs[key] == value
    if "--write-index" in uncompressed:
        with pysam.VariantFile(str(tmp_path / f"out.{ending}"), index_filename=f"out.{ending}.csi") as file:
            assert [r.pos for r in file.fetch("c1", 499, 501)] == [500, 501]


def test_bcf_and_gzip_in_files_and_pipes(run, world, tmp_path):
    _, options = world
    text = (HEADER + "\n".join(MIXED[:8]) + "\n").encode()
    wanted = lines(run("ms-delta", "-", *options, stdin=text).stdout)
    (tmp_path / "in.vcf").write_bytes(text)
    pysam.tabix_compress(str(tmp_path / "in.vcf"), str(tmp_path / "in.vcf.gz"))
    bcftools.view("-O", "b", "-o", str(tmp_path / "in.bcf"), str(tmp_path / "in.vcf"), catch_stdout=False)
    bcf = (tmp_path / "in.bcf").read_bytes()
    results = [
        run("ms-delta", "in.vcf.gz", *options), run("ms-delta", "in.bcf", *options), run("ms-delta", *options, stdin=bcf),
    ]  # fmt: skip
    for done in results:
        for one, two in zip(wanted, lines(done.stdout), strict=True):
            assert [x for i, x in enumerate(one) if i not in (5, 7)] == [
                x for i, x in enumerate(two) if i not in (5, 7)
            ]
            assert info(one[7]) == info(two[7])
    again = run("ms-delta", *options, "-O", "b", stdin=bcf).stdout
    (tmp_path / "again.bcf").write_bytes(again)
    assert len(lines(bcftools_view(tmp_path / "again.bcf"))) == 8


def test_tables(run, world, tmp_path):
    folder, options = world
    run("ms-delta", folder / "in.vcf", *options, "-o", "out.parquet", "--profiles")
    assert check_file(tmp_path / "out.parquet").startswith("delta version 1, 22 rows")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert {r["record"] for r in table} == set(range(len(MIXED)))
    inserted = next(r for r in table if r["record"] == 3)
    assert (inserted["pos"], inserted["inserted_offset"]) == (799, [1, 2, 3, 4, 5, 6])
    assert len(inserted["base_inserted_donor"]) == 6
    assert set(inserted["inserted_after"]) == {inserted["start"] - 1}
    for row in (r for r in table if r["reason"] == "scored"):
        low = row["window_start"]
        ref, alt = (np.array(row[f"base_profile_{a}_donor"]) for a in ("ref", "alt"))
        best = max((alt - ref).max(), max(row["base_inserted_donor"], default=0), 0)
        assert row["base_ds_dg"] == pytest.approx(best, abs=1e-6)
        if not row["base_offset_dl"]:
            at = row["base_pos_dl"] - low
            assert row["base_ds_dl"] == pytest.approx(max(ref[at] - alt[at], 0), abs=1e-6)
            assert row["base_ref_dl"] == pytest.approx(ref[at])
    assert all(r["base_ds_ag"] is None and r["strand"] is None for r in table if r["reason"] != "scored")
    text = run("ms-delta", folder / "in.vcf", *options, "-O", "tsv").stdout.decode()
    header, *rows = [x.split("\t") for x in text.splitlines() if not x.startswith("#")]
    assert [r[header.index("gene_name")] for r in rows] == [r["gene_name"] or "." for r in table]
    assert float(rows[0][header.index("base_ds_al")]) == pytest.approx(table[0]["base_ds_al"], rel=1e-4)


def test_batch_size_and_engine_change_nothing(run, world):
    folder, options = world
    wanted = run("ms-delta", folder / "in.vcf", *options).stdout
    for change in (["--batch-size", 1], ["--engine", "torch"], ["--engine", "reference"]):
        for one, two in zip(
            lines(wanted), lines(run("ms-delta", folder / "in.vcf", *options, *change).stdout), strict=True
        ):
            one, two = info(one[7]), info(two[7])
            assert one.keys() == two.keys()
            for key in one:
                if "MS_DS" in key:
                    numbers = [[float(x) for x in v.split(",") if x != "."] for v in (one[key], two[key])]
                    assert numbers[0] == pytest.approx(numbers[1], abs=2e-4)


def test_output_of_ours_goes_in_again(run, world):
    folder, options = world
    first = run("ms-delta", folder / "in.vcf", *options).stdout
    again = run("ms-delta", "-", *options, stdin=first).stdout
    assert lines(first) == lines(again)
    assert again.count(b"##ms.provenance") >= 1
    assert again.count(b"ID=MS_DS,") == 1


def test_a_region_and_aliases_of_contigs(run, world):
    _, options = world
    text = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    text += "".join(f"chrc1\t{p}\t.\t{SEQUENCE[p - 1]}\t{other(p)}\t.\t.\t.\n" for p in (500, 700))
    done = run("ms-delta", *options, "--region", "c1:600-800", stdin=text.encode())
    assert [info(x[7])["MS_STATUS"] for x in lines(done.stdout)] == ["outside_region", "scored"]
    assert b"##contig=<ID=chrc1,length=3000>" in done.stdout


def test_a_broken_record_is_told_and_the_rest_scored(run, world, tmp_path):
    _, options = world
    broken = MIXED[1].replace("\t501\t", "\tfive\t")
    text = HEADER + "\n".join([MIXED[0], broken, "c1\t5", MIXED[2]]) + "\n"
    done = run("ms-delta", *options, stdin=text.encode())
    assert [x[1] for x in lines(done.stdout)] == ["500", "700"]
    told = done.stderr.decode()
    assert "POS 'five' is not a number), standard input line 10; left out" in told
    assert "2 tab-separated columns where the header has 11), standard input line 11" in told
    assert "2 broken records left out" in told
    (tmp_path / "in.vcf").write_text(text)
    run("ms-delta", "in.vcf", *options, "--strict", "-o", "x.vcf", code=1, says="in.vcf line 10; mend or remove it")
    assert not (tmp_path / "x.vcf").exists()


def wrong_build(count: int) -> str:
    refs = {p: other(p) for p in range(500, 500 + count)}
    return HEADER + "".join(record(p, r, "C" if r != "C" else "T") + "\n" for p, r in refs.items())


@pytest.mark.parametrize(
    ("text", "more", "code", "says"),
    [
        ("", [], 4, "empty input"),
        ("hello\n", [], 1, "not VCF"),
        (HEADER.replace("#CHROM", "#CROM"), [], 1, "mend the header"),
        (HEADER[:30], [], 4, "input cut short"),
        (HEADER + MIXED[0][:40], [], 4, "line 9: it ends in the middle of a record"),
        (HEADER, [], 3, "nothing could be scored of 0 records (none)"),
        (HEADER + MIXED[5] + "\n", [], 3, "nothing could be scored of 1 records (1 missing)"),
        (HEADER + MIXED[9] + "\n", [], 3, "1 unknown_contig"),
        (wrong_build(30), [], 1, "REF is not what the genome has at 30 of 30 alleles (100%)"),
        (HEADER.replace("3000", "3001") + MIXED[0] + "\n", [], 1, "likely another build"),
        (HEADER.replace("=AC,", "=SpliceAI,") + MIXED[0] + "\n", [], 2, "INFO/SpliceAI is there already"),
        (HEADER + MIXED[0] + "\n", ["-o", "x.txt"], 2, "unknown ending"),
        (HEADER + MIXED[0] + "\n", ["-o", "x.vcf", "-O", "b"], 2, "against the ending"),
        (HEADER + MIXED[0] + "\n", ["-o", "x.vcf", "--write-index"], 2, "an index needs"),
        (HEADER + MIXED[2] + "\n" + MIXED[0] + "\n", ["-o", "x.bcf", "--write-index"], 1, "not sorted"),
        (HEADER + MIXED[0] + "\n", ["--genes", "none", "--masked"], 2, "nothing to mask by"),
        (HEADER + MIXED[0] + "\n", ["--genes", "no.gtf"], 1, "no such file"),
        (HEADER + MIXED[0] + "\n", ["-D", "5001"], 2, "5001 is not in the range"),
        (HEADER + MIXED[0] + "\n", ["--models", "2"], 2, "the ensemble has 1 networks, not 2"),
        (HEADER + MIXED[0] + "\n", ["--model", "nosuch"], 1, "unknown base model"),
    ],
)
def test_mistakes_are_one_line(run, world, text, more, code, says):
    run("ms-delta", "-", *world[1], *more, stdin=text.encode(), code=code, says=says)


def test_a_cut_gzip_is_cut_short(run, world, tmp_path):
    folder, options = world
    pysam.tabix_compress(str(folder / "in.vcf"), str(tmp_path / "in.vcf.gz"))
    (tmp_path / "cut.vcf.gz").write_bytes((tmp_path / "in.vcf.gz").read_bytes()[:-40])
    run("ms-delta", "cut.vcf.gz", *options, code=4, says="truncated")


def test_without_an_annotation_both_strands_are_scored(run, world):
    folder, options = world
    entries = info(lines(run("ms-delta", folder / "in.vcf", *options, "--genes", "none").stdout)[0][7])
    assert len(entries["SpliceAI"].split(",")) == 2
    assert not any(key.endswith("_MASKED") for key in entries)


@pytest.fixture(scope="session")
def real_weights():
    """SpliceAI's files; looked for before a test changes folder."""
    return [path.absolute() for path in real_spliceai()]


@pytest.mark.skipif(not SHARED.exists(), reason="SpliceAI's own test sequence is not here")
def test_tubb8_to_the_digit(run, real_weights, tmp_path):
    (tmp_path / "g.fa").write_bytes(SHARED.read_bytes())
    weights = tmp_path / "weights"
    weights.mkdir()
    for path in real_weights:
        (weights / path.name).symlink_to(path)
    (tmp_path / "genes.txt").write_text(
        "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n"
        "TUBB8\t10\t-\t92891\t95529\t92891,94178,94426,95179,\t94054,94289,94535,95529,\n"
    )
    text = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    text += "10\t94077\t.\tA\tC\t.\t.\t.\n10\t94555\t.\tC\tT\t.\t.\t.\n"
    sources = ["--genome", "g.fa", "--genes", "genes.txt", "--weights", weights]
    done = run("ms-delta", *sources, "--like-spliceai", stdin=text.encode())
    assert [info(x[7])["SpliceAI"] for x in lines(done.stdout)] == [
        "C|TUBB8|0.15|0.27|0.00|0.05|89|-23|-267|193",
        "T|TUBB8|0.01|0.18|0.15|0.62|-2|110|-190|0",
    ]


def test_the_real_piece_with_its_ms_toml(run, world):
    """FBN1 c.1837+1 of the real genome: the annotation of ms.toml gives the gene, its transcripts and the mask."""
    genome = pysam.FastaFile(str(DATA / "chr15.fa.gz"))
    base = genome.fetch("chr15", 48_420_685, 48_420_686).upper()
    text = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    text += f"15\t48420686\t.\t{base}\t{'T' if base != 'T' else 'A'}\t.\t.\t.\n"
    out = run("ms-delta", *world[1][:2], "--config", DATA / "ms.toml", "-O", "tsv", stdin=text.encode()).stdout.decode()
    header, row = [x.split("\t") for x in out.splitlines() if not x.startswith("#")]
    entry = dict(zip(header, row, strict=True))
    assert (entry["chrom"], entry["gene_name"], entry["strand"]) == ("chr15", "FBN1", "-")
    assert entry["gene_id"].startswith("ENSG00000166147")
    assert "ENST00000316623" in entry["transcripts"]
