"""ms-delta --saturate: which alleles, the same numbers as a VCF of them, the picture, and mistakes in one line."""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import random_sequence, write_fasta
from random_weights import random_net, write_keras

from libmeta.alleles import normalise
from libmeta.check import check_file
from libmeta.genome import Genome
from libmeta.saturation import Saturation, parse
from libmeta.saturation_map import SaturationMap

SEQUENCE = random_sequence(700, seed=3) + "ACACACAAAA" + "NNN" + random_sequence(287, seed=4)
SEQUENCE = SEQUENCE[:300] + "ACACACAAAAGGGTTTTTT" + SEQUENCE[319:]


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saturation")
    return Genome(write_fasta(folder / "g.fa", {"c1": SEQUENCE, "c2": "N" * 50}))


@pytest.fixture(scope="module")
def world(genome):
    """Folder and options: genome, genes on both strands, toy weights."""

    folder = Path(genome.path).parent
    (folder / "genes.txt").write_text(
        "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n"
        "ONE\tc1\t+\t200\t400\t200,\t400,\nTWO$x\tc1\t-\t250\t500\t250,350,\t310,500,\n"
    )
    (folder / "w").mkdir()
    write_keras(folder / "w" / "m.h5", random_net(40))
    sources = ["--weights", folder / "w", "--genome", folder / "g.fa", "--threads", 1, "-D", 30]
    return folder, [*sources, "--genes", folder / "genes.txt"]


def spelt(records) -> list[tuple]:
    return [(r.pos, r.ref, r.alts[0]) for r in records]


def every_edit(genome, region, longest: int) -> set:
    """All alleles by brute force: every spelling inside and around the region, normalised, once."""
    found = set()
    for at in range(max(region.start - 30, 0), min(region.end + 30, len(SEQUENCE))):
        base = SEQUENCE[at]
        options = [(base, x) for x in "ACGT"] + [(base, base + x) for x in "ACGT"] + [(base, x + base) for x in "ACGT"]
        for size in range(1, longest + 1):
            # behind an anchor, or before the base behind
            options += [
                (SEQUENCE[at : at + size + 1], base),
                (SEQUENCE[at : at + size + 1], SEQUENCE[at + size : at + size + 1]),
            ]
        for ref, alt in options:
            if set(ref + alt) <= set("ACGT") and alt and len(ref) <= len(SEQUENCE) - at and ref != alt:
                edit = normalise("c1", at + 1, ref, alt, genome)
                if region.start <= edit.start < region.end:
                    found.add(edit)
    return found


@pytest.mark.parametrize("text", ["c1:1-12", "c1:300-320", "c1:695-720", "c1:990-1000"])
def test_every_allele_once_and_left_aligned(genome, text):
    """At a contig's start and end, in runs and repeats, beside unknown bases."""
    region = parse(text, genome.contigs)
    records = Saturation(genome, region, 3)
    edits = []
    for pos, ref, alt in spelt(records):
        assert SEQUENCE[pos - 1 : pos - 1 + len(ref)] == ref
        edits.append(normalise("c1", pos, ref, alt, genome))
        assert (len(ref) == len(alt)) or ref[0] == alt[0] or pos == 1
    assert len(set(edits)) == len(edits) == records.total
    wanted = every_edit(genome, region, 3)
    # an indel at the edge of unknown bases may have a spelling without them on its other side only
    missed = wanted - set(edits)
    assert set(edits) <= wanted
    assert all("N" in SEQUENCE[e.start - 1 : e.start + len(e.removed) + 1] for e in missed)
    assert [r.pos for r in records] == sorted(r.pos for r in records)


def test_neighbouring_regions_share_none_and_miss_none(genome):
    whole = spelt(Saturation(genome, parse("c1:290-330", genome.contigs), 4))
    parts = [spelt(Saturation(genome, parse(t, genome.contigs), 4)) for t in ("c1:290-309", "c1:310-330")]
    assert parts[0] + parts[1] == whole


def test_three_snvs_per_base(genome):
    found = spelt(Saturation(genome, parse("c1:10-12", genome.contigs)))
    assert found == [(p, SEQUENCE[p - 1], x) for p in (10, 11, 12) for x in "ACGT" if x != SEQUENCE[p - 1]]


def without_numbers(table) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "record"} for row in table.to_pylist()]


def same(one, two) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) < 2e-6
    return one == two or (isinstance(one, list) and np.allclose(one, two, atol=2e-6))


def test_the_same_numbers_as_a_vcf_of_the_same_alleles(run, world, tmp_path):
    """Both strands where genes overlap; scored in another company, to rounding."""
    _, options = world
    run("ms-delta", "--saturate", "c1:290-330", "--indels", 2, *options, "-o", "all.parquet")
    assert "rows" in check_file(tmp_path / "all.parquet")
    text = run("ms-delta", "--saturate", "c1:290-330", "--indels", 2, *options).stdout.decode()
    lines = [[*x.split("\t")[:7], "."] for x in text.splitlines() if not x.startswith("#")]
    body = "".join("\t".join(x) + "\n" for x in lines[::-1])
    vcf = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + body
    run("ms-delta", *options, "--batch-size", 50, "-o", "vcf.parquet", stdin=vcf.encode())
    key = lambda r: (r["start"], r["removed"], r["inserted"], r["strand"])  # noqa: E731
    one, two = (sorted(without_numbers(pq.read_table(tmp_path / f)), key=key) for f in ("all.parquet", "vcf.parquet"))
    assert len(one) == len(two) == 2 * len(lines) > 2 * 123
    assert {r["gene_name"] for r in one} == {"ONE", "TWO$x"}
    for first, second in zip(one, two, strict=True):
        differ = {k for k in first if not same(first[k], second[k])}
        assert not differ, (first, second)


def test_table_text_and_unknown_bases(run, world):
    _, options = world
    done = run("ms-delta", "--saturate", "c1:708-716", *options, "-O", "tsv")
    header, *rows = [x.split("\t") for x in done.stdout.decode().splitlines() if not x.startswith("#")]
    assert b"3 unknown bases (N) left out" in done.stderr
    assert len(rows) == 2 * 18
    assert {r[header.index("gene_name")] for r in rows} == {"."}
    assert {r[header.index("strand")] for r in rows} == {"+", "-"}


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_picture(run, world, tmp_path, ending):
    _, options = world
    line = ["--saturate", "c1:290-330", "--indels", 2, *options, "-O", "tsv", "--picture"]
    run("ms-delta", *line, f"a.{ending}")
    picture = (tmp_path / f"a.{ending}").read_bytes()
    assert picture[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    run("ms-delta", *line, f"b.{ending}")
    assert (tmp_path / f"b.{ending}").read_bytes() == picture
    if ending == "svg":
        text = picture.decode()
        for word in ("ONE →", "TWO$x ←", "c1:290-330", "exon 2", "gain", "-2", "+G"):
            assert f">{word}</text>" in text or word in text, word


def test_bars_where_bases_cannot_be_told_apart(genome, tmp_path):
    from libmeta import saturation_figure
    from libmeta.saturation_map import Panel

    region = parse("c1:1-1000", genome.contigs)
    found = SaturationMap(region, np.resize(genome.codes("c1", 0, 1000), 9000), None, 0, False)
    none = np.zeros(9000, bool)
    value = np.full((4, 9000), np.nan, np.float32)
    value[2, [17, 8000]] = 0.8, -0.6
    found._panels[None, "+"] = Panel(None, "+", None, found.labels, none, none, {"base": value}, {"base": value * 0})
    saturation_figure.draw(found, "toy", str(tmp_path / "bars.svg"))
    text = (tmp_path / "bars.svg").read_text()
    assert "no gene, + strand →" in text
    assert text.count("no gene") == 1
    # bars 0.8 up, 0.6 down, in the colours of gain and loss; nothing else has a height
    tall = [h for c in (saturation_figure.GAIN, saturation_figure.LOSS) for h in bar_heights(text, c)]
    scale = 72 * saturation_figure.BAR_HEIGHT / 2.1
    assert tall == pytest.approx([0.8 * scale, 0.6 * scale], abs=0.01)


def bar_heights(svg: str, colour: str) -> list[float]:
    """Heights in points of the filled rectangles of a colour, flat ones and the colour key left out."""
    found = []
    for path in re.findall(rf'<path d="([^"]*)"[^>]*style="fill: {colour}"', svg):
        ys = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
        if len(ys) >= 4 and max(ys) - min(ys) > 0.01:
            found.append(max(ys) - min(ys))
    return found


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--saturate", "c1:5-2"], 2, "start must be at least 1"),
        (["--saturate", "c1:a-b"], 1, "c1:a-b"),
        (["--saturate", "c1:5-2000"], 1, "past the end of c1 (1,000 bp)"),
        (["--saturate", "c9:1-5"], 1, "c9"),
        (["--saturate", "c1:1-5:+"], 2, "the genes there say which strands"),
        (["--saturate", "c1:711-713"], 3, "no known base"),
        (["--saturate", "c2"], 3, "no known base"),
        (["--saturate", "c1:1-5", "--picture", "x.gif"], 2, "use one of .png, .svg, .pdf"),
        (["--saturate", "c1:1-5", "in.vcf"], 2, "both VARIANTS and --saturate"),
        (["--saturate", "c1:1-5", "--indels", "21"], 2, "21 is not in the range"),
        (["--picture", "x.png"], 2, "--picture without --saturate"),
        (["--indels", "2"], 2, "--indels without --saturate"),
    ],
)
def test_mistakes_are_one_line(run, world, more, code, says):
    run("ms-delta", *world[1], *more, code=code, says=says)


def test_too_large_is_said_at_once(run, world, tmp_path):
    _, options = world
    write_fasta(tmp_path / "big.fa", {"c1": "ACGT" * 250_001}, width=1000)
    line = [*options[:2], "--genome", "big.fa", "--genes", "none"]
    run("ms-delta", *line, "--saturate", "c1", code=2, says="1,000,004 bp are too many at once")
    run("ms-delta", *line, "--saturate", "c1:1-100,001", "--picture", "x.png", code=2, says="too wide to draw")
