"""The HTML page of ms-delta: sorted, escaped, self-contained, with the numbers of the VCF; places in words."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from conftest import random_sequence, write_fasta
from random_weights import random_net, write_keras
from test_ms_delta import HEADER, info, lines

from libmeta.alleles import Edit
from libmeta.delta import KINDS, Effect
from libmeta.delta_words import changes, place, sort_of
from libmeta.gene_index import Transcript

SEQUENCE = random_sequence(3000, seed=8)
EVIL = '<script>alert("x")</script>&$\\frac$'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_fasta(folder / "g.fa", {"c1": SEQUENCE})
    (folder / "genes.txt").write_text(
        "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n"
        f"ONE{EVIL}\tc1\t+\t400\t1000\t400,600,900,\t500,700,1000,\n"
        "TWO\tc1\t-\t600\t2000\t600,1500,\t800,2000,\n"
    )
    (folder / "w").mkdir()
    write_keras(folder / "w" / "m.h5", random_net(40))
    sources = ["--weights", folder / "w", "--genome", folder / "g.fa", "--threads", 1, "-D", 60]
    return folder, [*sources, "--genes", folder / "genes.txt"]


def record(pos: int, alt: str | None = None, size: int = 1, name: str = ".") -> str:
    ref = SEQUENCE[pos - 1 : pos - 1 + size]
    alt = alt or ("A" if ref[0] != "A" else "G")
    return f"c1\t{pos}\t{name}\t{ref}\t{alt}\t.\tq10\tAC=1\tGT\t0|1\t./."


RECORDS = [
    record(450, name=EVIL), record(500), record(610, size=4), record(650, alt=SEQUENCE[649] + "ACGTTGCA"), record(950),
    record(1200), record(2500), record(700, alt="<DEL>"), record(710, alt="*"), record(720, alt="R", name="i&d"),
    record(1400, alt=SEQUENCE[1399]),
]  # fmt: skip
VCF = HEADER + "\n".join(RECORDS) + "\n"


@pytest.fixture(scope="module")
def made(world, tmp_path_factory):
    """(page, VCF lines) of one run."""
    import subprocess

    from conftest import tool

    folder = tmp_path_factory.mktemp("made")
    options = map(str, [*world[1], "--html", folder / "r.html", "-o", folder / "o.vcf", "--html-top", 4])
    subprocess.run([*tool("ms-delta"), "-", *options], input=VCF.encode(), check=True, timeout=300)
    return (folder / "r.html").read_text(), lines((folder / "o.vcf").read_text())


def table(page: str) -> list[list[str]]:
    """Cells of the rows of the table of effects."""
    body = page.split("<h2>Variants by effect</h2>")[1].split("<tbody>")[1].split("</tbody>")[0]
    return [
        [unescape(re.sub("<[^>]*>", "", c)) for c in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in body.split("<tr")[1:]
    ]


def test_loads_nothing_and_is_one_file(made):
    page, _ = made
    without_names = re.sub(r'xmlns(:\w+)?="http://www\.w3\.org/[^"]*"', "", page)
    assert "http:" not in without_names
    assert "https:" not in without_names
    assert not re.search(r"<(script|link|iframe|img|object|embed)\b", without_names)
    assert not re.search(r"""(src|href)=["'](?!#)""", without_names)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", without_names)
    assert "default-src 'none'" in page
    assert page.count("<svg") == page.count("</svg>") >= 4


def test_what_comes_from_the_input_is_escaped(made):
    page, _ = made
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page
    assert "i&amp;d" in page
    assert "&lt;DEL&gt;" in page


def test_sorted_by_effect_with_the_numbers_of_the_vcf(made):
    page, records = made
    rows = table(page)
    largest = {}
    for row in rows:
        if row[0]:
            place = row[0]
        assert len(row) == 3 + 10
        assert float(row[7]) == max(map(float, row[3:7]))
        assert float(row[12]) == max(map(float, row[8:12]))
        largest[place] = max(largest.get(place, 0), float(row[7]))
    assert list(largest.values()) == sorted(largest.values(), reverse=True)
    scored = [r for r in records if info(r[7])["MS_STATUS"] == "scored"]
    assert len(largest) == len(scored) == 8
    for one in scored:
        text = f"c1:{int(one[1]):,} {one[3]}>{one[4]}"
        entries = info(one[7])
        assert largest[text] == pytest.approx(float(entries["MS_DS"]), abs=0.00501)
        mine = [r for i, r in enumerate(rows) if next(x[0] for x in rows[i::-1] if x[0]) == text]
        for j, kind in enumerate(KINDS):
            assert max(float(r[3 + j]) for r in mine) == pytest.approx(
                float(entries[f"MS_DS_{kind.upper()}"]), abs=0.00501
            )
            assert max(float(r[8 + j]) for r in mine) == pytest.approx(
                float(entries[f"MS_DS_{kind.upper()}_MASKED"]), abs=0.00501
            )


def test_pictures_of_the_largest_only_in_order(made):
    page, _ = made
    order = [r[0] for r in table(page) if r[0]]
    titles = [unescape(t).split(" (")[0] for t in re.findall(r'<h3 id="v\d+">(.*?)</h3>', page)]
    assert titles == order[:4]
    assert "The 4 largest of 8 are drawn" in page
    assert set(re.findall(r'href="#(v\d+)"', page)) == set(re.findall(r'<h3 id="(v\d+)"', page))
    # words and picture: the largest change of each picture stands in both
    for part in page.split("<h3 id=")[1:]:
        text = unescape(part.split("<h2>")[0])
        assert "→" in text
        assert re.search(r"(donor|acceptor) (gain|loss) at (inserted base \d+ behind )?c1:[\d,]+", text)


def test_reasons_have_their_own_table(made):
    page, _ = made
    part = page.split("<h2>Without scores</h2>")[1]
    for reason in ("star", "symbolic", "iupac"):
        assert f'<td class="l">{reason}</td>' in part
    assert "IUPAC" not in part
    assert "c1:720" in part
    assert "ms-delta" in part.split("Provenance")[1]
    assert "arguments" in part.split("Provenance")[1]


def test_none_scored_gives_a_page_and_its_exit_code(run, world, tmp_path):
    text = HEADER + record(700, alt="<DEL>") + "\n"
    run(
        "ms-delta",
        "-",
        *world[1],
        "--html",
        "r.html",
        "-o",
        "o.vcf",
        stdin=text.encode(),
        code=3,
        says="nothing could be scored",
    )
    page = (tmp_path / "r.html").read_text()
    assert "0 scored, 1 not" in page
    assert "symbolic" in page


def test_without_an_annotation_and_without_pictures(run, world, tmp_path):
    options = [*world[1][:-1], "none"]
    run("ms-delta", "-", *options, "--html", "r.html", "--html-top", 0, "-q", stdin=VCF.encode())
    page = (tmp_path / "r.html").read_text()
    assert "<svg" not in page
    assert "no gene →" in page
    assert {len(r) for r in table(page)} == {3 + 5}


def test_memory_holds_the_largest_alone(monkeypatch):
    from libmeta import delta_ranking
    from libmeta.delta import Allele, Row
    from libmeta.vcf import Record

    monkeypatch.setattr(delta_ranking, "MOST_ROWS", 5)
    ranking = delta_ranking.Ranking(2, False)
    scores = np.random.default_rng(1).permutation(40) / 50
    for pos, size in enumerate(scores.tolist(), 1):
        ones = np.zeros(4, np.float32)
        effect = Effect(np.float32([0, size, 0, 0]), ones.astype(int), ones.astype(int), ones, ones)
        allele = Allele("c1", pos, "A", "C", None, Edit(pos - 1, "A", "C"), [Row("+", None, [], "heavy", effect)])
        ranking.add([Record(pos, [b"c1", b"1", b"."], "c1", pos, "A", ["C"])], [[allele]])
        ranking.add([Record(pos, [b"c1", b"1", b"."], "c1", pos, "A", ["*"])], [[Allele("c1", pos, "A", "*", "star")]])
    wanted = sorted(scores.tolist(), reverse=True)
    assert [e.size for e in ranking.rows] == pytest.approx(wanted[:5])
    assert [e.size for e in ranking.drawn] == pytest.approx(wanted[:2])
    assert {e.allele.rows[0].aligned for e in ranking.rows} == {None}
    assert {e.allele.rows[0].aligned for e in ranking.drawn} == {"heavy"}
    assert (ranking.total, ranking.reasons["star"], len(ranking.unscored)) == (80, 40, 5)
    assert ranking.above[0.5] == (scores >= 0.5).sum()


EXONS = np.array([[100, 200], [300, 350], [500, 600]])


@pytest.mark.parametrize(
    ("pos", "plus", "minus"),
    [
        (99, "1 bp before the first exon", "1 bp behind the last exon"),
        (100, "in exon 1, 0 bp from its start", "in exon 3, 0 bp from its end"),
        (199, "the donor of exon 1", "the acceptor of exon 3"),
        (200, "1 bp into intron 1", "1 bp before exon 3"),
        (299, "1 bp before exon 2", "1 bp into intron 2"),
        (300, "the acceptor of exon 2", "the donor of exon 2"),
        (349, "the donor of exon 2", "the acceptor of exon 2"),
        (310, "in exon 2, 10 bp from its start", "in exon 2, 10 bp from its end"),
        (364, "15 bp into intron 2", "15 bp before exon 2"),
        (500, "the acceptor of exon 3", "the donor of exon 1"),
        (599, "in exon 3, 0 bp from its end", "in exon 1, 0 bp from its start"),
        (609, "10 bp behind the last exon", "10 bp before the first exon"),
    ],
)
def test_places_on_both_strands(pos, plus, minus):
    assert place(pos, Transcript("t", "+", EXONS)) == plus
    assert place(pos, Transcript("t", "-", EXONS)) == minus


def test_words_of_changes():
    def effect(score, pos, offset, masked=None):
        ref, alt = np.float32([0.9, 0.9, 0.03, 0.9]), np.float32([0.9, 0.1, 0.71, 0])
        return Effect(np.float32(score), np.array(pos), np.array(offset), ref, alt, masked)

    transcript = Transcript("t", "+", EXONS)
    edit = Edit(360, "ACG", "")
    mask = effect([0, 0.5, 0, 0], [-1, 299, -1, -1], [0, 0, 0, 0])
    found = changes(
        effect([0, 0.8, 0.68, 0.9], [0, 400, 364, 361], [0, 0, 0, 0], mask), edit, "c1", "+", transcript, NoSites()
    )
    assert found == [
        "donor loss at c1:362, 12 bp into intron 2; 0.90 → 0.00, the base is deleted (masked: loss at no annotated site)",
        "acceptor loss at c1:401, 51 bp into intron 2; 0.90 → 0.10 (masked: loss at no annotated site)",
        "under the mask, acceptor loss at c1:300, 1 bp before exon 2; 0.90 → 0.10",
        "donor gain at c1:365, 15 bp into intron 2; 0.03 → 0.71 (masked: gain of an annotated site)",
    ]
    small = changes(effect([0, 0.01, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0]), edit, "c1", "+", None, None)
    assert small == ["no change of 0.05 or more; the largest: acceptor loss at c1:6; 0.90 → 0.10"]
    assert changes(effect([0] * 4, [0] * 4, [0] * 4), edit, "c1", "+", None, None) == ["no change at all"]
    new = changes(effect([0, 0, 0.7, 0], [0, 0, 9, 0], [0, 0, 2, 0]), Edit(10, "", "ACG"), "c1", "+", None, None)
    assert new == ["donor gain at inserted base 2 behind c1:10; new, 0.71"]


class NoSites:
    """No annotated sites."""

    def annotated(self, contig, strand, start, end):
        return np.zeros((2, end - start), bool)


def test_sorts_of_variants():
    assert [sort_of(Edit(1, *e)) for e in (("A", "C"), ("AC", "GT"), ("ACG", ""), ("", "AC"), ("AC", "GTT"), ("A", "A"))] == [
        "SNV", "2 bp replaced", "deletion of 3 bp", "insertion of 2 bp", "2 bp replaced by 3", "no change",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--html", "no/where/r.html"], 1, "no folder to write to"),
        (["--html", "r.html", "--html-top", "1001"], 2, "1001 is not in the range"),
        (["--html", "r.html", "--saturate", "c1:1-5"], 2, "--html with --saturate"),
    ],
)
def test_mistakes_are_one_line(run, world, more, code, says):
    run("ms-delta", *world[1], *more, stdin=VCF.encode(), code=code, says=says)


def test_the_made_variants_are_what_their_script_makes():
    import sys

    from conftest import DATA

    sys.path.insert(0, str(DATA))
    try:
        import made_variants
    finally:
        sys.path.remove(str(DATA))
    text = made_variants.text()
    assert (DATA / "fbn1.made.vcf").read_text() == text
    assert "not observed" in text
    assert len(lines(text)) > 30
    assert Path(made_variants.__file__).parent == DATA
