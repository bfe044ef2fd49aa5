"""The list of public sources, what is asked of their publishers, and the command; against a web server on this machine."""

import base64
import gzip
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
import tomllib

import pytest
from web_server import Page, Server

from libmeta import fetch, gct_tissues, junction_files, modalities, public_data
from libmeta.errors import MetaError
from libmeta.public_data import LIST, Source

PAUSES = (0, 0)


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def record(accession, body, **changes):
    """What ENCODE says of a file."""
    return {
        "accession": accession, "href": f"/files/{accession}/@@download/{accession}.bed.gz", "md5sum": md5(body),
        "file_size": len(body), "status": "released", "assembly": "GRCh38", "biological_replicates": [1, 2],
        "target": {"label": "RBFOX2"}, "biosample_ontology": {"term_name": "HepG2"}, **changes,
    }  # fmt: skip


@pytest.fixture
def web():
    with Server() as server:
        for accession, body in (("ENCFF001AAA", b"one" * 999), ("ENCFF002AAA", b"two"), ("ENCFF003AAA", b"3")):
            server.pages[f"/files/{accession}/"] = Page(json.dumps(record(accession, body)).encode())
            server.pages[f"/files/{accession}/@@download/{accession}.bed.gz"] = Page(body)
        server.pages["/genome.fa.gz"] = Page(b"ACGT" * 5000)
        server.pages["/md5sum.txt"] = Page(f"{'0' * 32}  other\n{md5(b'ACGT' * 5000)}  ./genome.fa.gz\n".encode())
        yield server


@pytest.fixture
def listed(web, tmp_path):
    """A list of sources of the server."""
    (tmp_path / "list.toml").write_text(f"""
encode = "{web.url}"
[[source]]
group = "genome"
path = "genome.fa.gz"
url = "{web.url}/genome.fa.gz"
md5s = "{web.url}/md5sum.txt"
licence = "free"
[[source]]
group = "epigenetic"
path = "encode/{{accession}}.bw"
accession = "ENCFF001AAA"
key = "modalities.epigenetic.h3k4me3.K562"
licence = "free"
""")
    return tmp_path / "list.toml"


def command(listed, *arguments, code=0):
    """`python -m libmeta.fetch` as users run it."""
    line = [sys.executable, "-m", "libmeta.fetch", "--folder", "data", "--sources", str(listed), *arguments]
    done = subprocess.run(line, cwd=listed.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done


# ---- the list itself ------------------------------------------------------------------------------------------------


def test_our_list():
    encode, sources = public_data.read()
    assert encode == "https://www.encodeproject.org"
    assert {s.group for s in sources} == {
        "genome", "annotation", "conservation", "epigenetic", "chrom_access", "rbp_eclip", "junction",
    }  # fmt: skip
    for source in sources:
        assert source.licence
        for url in filter(None, (source.url, source.md5s)):
            assert url.startswith("https://"), url
        assert source.md5s or source.md5_header or source.accession or source.search, source.path  # all are checked
        if source.key:
            _, modality, *keys = source.key.split(".")
            assert keys[0] in modalities.get(modality).KEYS
    accessions = [s.accession for s in sources if s.accession]
    assert len(accessions) == len(set(accessions)) == 20
    keys = [s.key for s in sources if s.key]
    assert len(keys) == len(set(keys))
    assert LIST.name in (LIST.parents[1] / "pyproject.toml").read_text()  # it is in the wheel too


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[source]]\ngroup", "not TOML"),
        ("encode = 'x'\n", "no source"),
        ("[[source]]\ngroup = 'a'\npath = 'b'\nlicence = 'c'\n", "neither url, accession nor search"),
        ("[[source]]\ngroup = 'a'\npath = 'b'\nurl = 'c'\n", "no licence, source 1 (b)"),
        ("[[source]]\ngroup = 'a'\npath = '../b'\nurl = 'c'\nlicence = 'd'\n", "leads out of the folder"),
        ("[[source]]\nmd5 = 'a'\n", "unknown key md5"),
    ],
)
def test_bad_lists(tmp_path, text, says):
    (tmp_path / "l.toml").write_text(text)
    with pytest.raises(MetaError) as error:
        public_data.read(tmp_path / "l.toml")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


# ---- what publishers say --------------------------------------------------------------------------------------------


def look_up(web, **entry):
    source = Source("group", entry.pop("path", "x"), "free", **entry)
    return public_data.look_up(source, web.url, {}, PAUSES)


def test_encode_by_accession(web):
    (found,) = look_up(web, accession="ENCFF001AAA", path="{accession}.bw", key="modalities.m.k.t")
    assert found.path == "ENCFF001AAA.bw"
    assert (found.remote.size, found.remote.md5) == (2997, md5(b"one" * 999))
    assert found.remote.url == f"{web.url}/files/ENCFF001AAA/@@download/ENCFF001AAA.bed.gz"
    assert found.about == {"accession": "ENCFF001AAA", "key": "modalities.m.k.t"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"assembly": "hg19"}, "ENCFF001AAA is of hg19, not GRCh38"),
        ({"status": "revoked"}, "ENCFF001AAA is revoked at ENCODE"),
        ({"md5sum": None}, "no md5sum in the ENCODE record"),
        ({"accession": "ENCFF999ZZZ"}, "ENCODE gives ENCFF999ZZZ for ENCFF001AAA"),
    ],
)
def test_encode_records_that_will_not_do(web, changes, says):
    web.pages["/files/ENCFF001AAA/"].body = json.dumps(record("ENCFF001AAA", b"x") | changes).encode()
    with pytest.raises(MetaError, match=says):
        look_up(web, accession="ENCFF001AAA")
    web.pages["/files/ENCFF001AAA/"].body = b"<html>"
    with pytest.raises(MetaError, match="the answer is not JSON"):
        look_up(web, accession="ENCFF001AAA")
    with pytest.raises(MetaError, match="HTTP 404"):
        look_up(web, accession="ENCFF404AAA")


def test_encode_search(web):
    """Only peaks that both replicates share; two experiments of one protein and cell line: the first accession."""
    graph = [
        record("ENCFF003AAA", b"3"),
        record("ENCFF001AAA", b"one" * 999),
        record("ENCFF002AAA", b"two", target={"label": "U2AF2 (x)"}, biosample_ontology={"term_name": "adrenal gland"}),
        record("ENCFF009AAA", b"9", biological_replicates=[1]),
    ]
    web.pages["/search/"] = Page(json.dumps({"@graph": graph}).encode())
    entry = {"search": "/search/?type=File", "replicates": (1, 2), "path": "{accession}.bed.gz",
             "key": "modalities.rbp_eclip.files.{target}_{cell}"}  # fmt: skip
    found = look_up(web, **entry)
    assert [f.path for f in found] == ["ENCFF001AAA.bed.gz", "ENCFF002AAA.bed.gz"]
    assert [f.about["key"].split(".")[-1] for f in found] == ["RBFOX2_HepG2", "U2AF2-x-_adrenal-gland"]
    graph[0]["target"] = None
    web.pages["/search/"].body = json.dumps({"@graph": graph}).encode()
    with pytest.raises(MetaError, match="no target or cell in the ENCODE record of ENCFF003AAA"):
        look_up(web, **entry)
    web.pages["/search/"].body = b'{"@graph": []}'
    with pytest.raises(MetaError, match="nothing found"):
        look_up(web, **entry)


def test_checksums_of_publishers(web):
    url = f"{web.url}/genome.fa.gz"
    (found,) = look_up(web, url=url, md5s=f"{web.url}/md5sum.txt")
    assert (found.remote.size, found.remote.md5) == (20_000, md5(b"ACGT" * 5000))
    web.pages["/md5sum.txt"].body = f"{'1' * 32}  genome.fa.gz.tbi\n".encode()
    with pytest.raises(MetaError, match=r"no checksum of genome.fa.gz, http.*md5sum.txt"):
        look_up(web, url=url, md5s=f"{web.url}/md5sum.txt")
    with pytest.raises(MetaError, match="the server sends no md5"):
        look_up(web, url=url, md5_header=True)
    digest = base64.b64encode(bytes.fromhex(md5(b"ACGT" * 5000))).decode()
    web.pages["/genome.fa.gz"].extra = [("x-goog-hash", "crc32c=AAAAAA=="), ("x-goog-hash", f"md5={digest}")]
    (found,) = look_up(web, url=url, md5_header=True)
    assert found.remote.md5 == md5(b"ACGT" * 5000)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_sizes_are_shown_before_anything_is_fetched(web, listed):
    done = command(listed, "--dry-run")
    lines = done.stdout.splitlines()
    assert lines[1].split("\t")[:6] == ["genome", "20,000", "20,000", "md5", "genome.fa.gz", f"{web.url}/genome.fa.gz"]
    assert lines[2].split("\t")[:6] == ["epigenetic", "2,997", "2,997", "md5", "encode/ENCFF001AAA.bw", "ENCFF001AAA"]
    assert lines[3] == "# 2 files, 22,997 bytes (0.0 GB) to come"
    assert not web.asked("/genome.fa.gz")
    assert not (listed.parent / "data").exists()
    assert "# 1 files, 2,997 bytes" in command(listed, "--dry-run", "epigenetic").stdout


def test_fetch_and_again(web, listed):
    done = command(listed)
    folder = listed.parent / "data"
    assert (folder / "genome.fa.gz").read_bytes() == b"ACGT" * 5000
    about = json.loads((folder / "encode" / "ENCFF001AAA.bw.source.json").read_text())
    assert about == {
        "accession": "ENCFF001AAA", "bytes": 2997, "key": "modalities.epigenetic.h3k4me3.K562", "licence": "free",
        "md5": md5(b"one" * 999), "url": f"{web.url}/files/ENCFF001AAA/@@download/ENCFF001AAA.bed.gz",
    }  # fmt: skip
    assert done.stderr == ""
    again = command(listed)
    assert "# 2 files, 0 bytes (0.0 GB) to come" in again.stdout
    assert len(web.asked("/genome.fa.gz")) == 1


def test_killed_and_given_again(web, listed):
    page = web.pages["/genome.fa.gz"]
    page.body, page.stall = b"ACGT" * 500_000, threading.Event()
    web.pages["/md5sum.txt"].body = f"{md5(page.body)} *genome.fa.gz\n".encode()
    line = [sys.executable, "-m", "libmeta.fetch", "genome", "--folder", "data", "--sources", str(listed)]
    running = subprocess.Popen(line, cwd=listed.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = listed.parent / "data" / "genome.fa.gz.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 1_000_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    page.stall.set()
    page.stall = None
    assert "1,000,000 bytes (0.0 GB) to come" in command(listed, "genome").stdout
    assert (listed.parent / "data" / "genome.fa.gz").read_bytes() == page.body
    assert web.asked("/genome.fa.gz") == [(None, None), ("bytes=1000000-", '"1"')]


@pytest.mark.parametrize(
    ("spoil", "arguments", "code", "says"),
    [
        (lambda web: web.pages.pop("/genome.fa.gz"), (), 1, "HTTP 404 Not Found, http"),
        (
            lambda web: setattr(web.pages["/md5sum.txt"], "body", b"0" * 32 + b"  genome.fa.gz\n"),
            (),
            1,
            "checksum wrong",
        ),
        (lambda web: None, ("nothing",), 2, "unknown group 'nothing'"),
        (lambda web: None, ("--sources", "none.toml"), 2, "no such list of sources"),
    ],
)
def test_failures_are_one_line(web, listed, spoil, arguments, code, says):
    spoil(web)
    done = command(listed, *arguments, code=code)
    assert done.stderr.startswith("fetch: error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not list(listed.parent.glob("data/*.part*"))


def test_broken_connections_within_one_command(web, listed, monkeypatch):
    web.pages["/genome.fa.gz"].breaks = [5000, 10, 700]
    monkeypatch.chdir(listed.parent)
    fetch.main(["--folder", "data", "--sources", str(listed)], PAUSES)
    assert (listed.parent / "data" / "genome.fa.gz").read_bytes() == b"ACGT" * 5000


def test_no_tool_fetches(monkeypatch):
    """Only the two files of the downloader, and the command, know the network."""
    users = {
        p.name for p in LIST.parent.rglob("*.py") if "urllib.request" in p.read_text() or "downloads" in p.read_text()
    }
    assert users == {"downloads.py", "public_data.py", "fetch.py"}
    for folder in (LIST.parent, LIST.parents[1] / "tools"):
        for path in folder.rglob("*.py"):
            assert path.name == "fetch.py" or "libmeta.fetch" not in path.read_text().replace(
                "python -m libmeta.fetch", ""
            )


# ---- ms.toml and GTEx -----------------------------------------------------------------------------------------------

GCT = "#1.2\n3\t4\nName\tDescription\tS1\tS2\tS3\tS4\n" + "".join(
    f"chr1_{where}\tG\t{reads}\n"
    for where, reads in (("101_200", "1\t2\t0\t9"), ("301_400", "0\t0\t4\t9"), ("501_600", "0\t0\t0\t9"))
)  # fmt: skip
ATTRIBUTES = "SAMPID\tX\tSMTSD\nS1\t-\tBrain - Cortex\nS2\t-\tBrain - Cortex\nS3\t-\tLiver\nS9\t-\tLung\n"


def test_samples_are_summed_by_tissue(tmp_path):
    with gzip.open(tmp_path / "j.gct.gz", "wt") as handle:
        handle.write(GCT)
    (tmp_path / "a.txt").write_text(ATTRIBUTES)
    made = gct_tissues.write(tmp_path / "j.gct.gz", tmp_path / "a.txt", tmp_path / "gtex")
    assert [p.name for p in made] == ["Brain_Cortex.junctions.tsv.gz", "Liver.junctions.tsv.gz"]
    for path, wanted in zip(made, ([(100, 200, 3)], [(300, 400, 4)]), strict=True):
        raw = junction_files.read(path, "x")
        assert list(zip(raw.start.tolist(), raw.end.tolist(), raw.reads.tolist(), strict=True)) == wanted
        assert raw.strand.tolist() == [0]
    first = made[0].read_bytes()
    assert gct_tissues.write(tmp_path / "j.gct.gz", tmp_path / "a.txt", tmp_path / "gtex")[0].read_bytes() == first


@pytest.mark.parametrize(
    ("gct", "attributes", "says"),
    [
        (GCT, "SAMPID\tX\nS1\t-\n", "no column SMTSD"),
        (GCT, "SAMPID\tSMTSD\nZ\tLiver\n", "no sample of .* has a tissue"),
        (GCT.replace("3\t4", "5\t4"), ATTRIBUTES, "3 rows where line 2 promises 5"),
        (GCT.replace("chr1_301_400", "gene"), ATTRIBUTES, "name 'gene' is not CONTIG_START_END, .* line 5"),
        (GCT.replace("\t2\t", "\tx\t"), ATTRIBUTES, "malformed GCT"),
    ],
)
def test_bad_gct(tmp_path, gct, attributes, says):
    (tmp_path / "j.gct").write_text(gct)
    (tmp_path / "a.txt").write_text(attributes)
    with pytest.raises(MetaError, match=says):
        gct_tissues.write(tmp_path / "j.gct", tmp_path / "a.txt", tmp_path / "gtex")
    assert not list((tmp_path / "gtex").glob("*")) if (tmp_path / "gtex").exists() else True


def test_configuration_of_what_is_there(web, listed):
    folder = listed.parent / "data"
    command(listed)
    (folder / "gencode.v44.annotation.gtf.gz").write_bytes(b"")
    (folder / "gtex").mkdir()
    (folder / "gtex" / "Liver.junctions.tsv.gz").write_bytes(b"")
    command(listed, "--config")
    found = tomllib.loads((folder / "ms.toml").read_text())
    assert found["genome"] == {"fasta": "hg38.fa"}
    assert [t.get("tag") for t in found["annotation"]["tiers"]] == ["MANE_Select", "basic", None]
    assert found["modalities"] == {
        "epigenetic": {"h3k4me3": {"K562": "encode/ENCFF001AAA.bw"}},
        "junction": {"files": {"Liver": "gtex/Liver.junctions.tsv.gz"}},
    }
    (folder / "encode" / "ENCFF001AAA.bw").unlink()  # gone: no longer named
    command(listed, "--config")
    assert "epigenetic" not in tomllib.loads((folder / "ms.toml").read_text())["modalities"]
