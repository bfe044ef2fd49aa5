"""Downloads against a web server on this machine: resumed, compared, whole or not at all; every failure one line."""

import hashlib
import os
from collections import namedtuple

import numpy as np
import pytest
from web_server import Page, Server

from libmeta import downloads
from libmeta.downloads import Remote, fetch
from libmeta.errors import MetaError

BODY = np.random.default_rng(1).bytes(300_000)
SIZE, MD5 = len(BODY), hashlib.md5(BODY).hexdigest()
PAUSES = (0, 0)


@pytest.fixture
def web():
    with Server() as server:
        yield server


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 10_000)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def bring(web, folder, page=None, size=SIZE, md5=MD5, tell=lambda have, size: None):
    if page is not None:
        web.pages["/f"] = page
    fetch(Remote(f"{web.url}/f", size, md5), folder / "sub" / "f", tell, PAUSES)
    assert names(folder / "sub") == ["f"]
    return (folder / "sub" / "f").read_bytes()


def test_whole_in_one_go(web, tmp_path, small_blocks):
    told = []
    assert bring(web, tmp_path, Page(BODY), tell=lambda *now: told.append(now)) == BODY
    assert web.asked("/f") == [(None, None)]
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    bring(web, tmp_path)
    assert len(web.seen) == 1  # it is there: nobody is asked


@pytest.mark.parametrize("version", [{"etag": '"abc"'}, {"etag": None, "modified": "Tue, 01 Apr 2025 10:00:00 GMT"},
                                     {"etag": 'W/"weak"', "modified": "Tue, 01 Apr 2025 10:00:00 GMT"}])  # fmt: skip
def test_broken_connections_are_resumed(web, tmp_path, version):
    """Four breaks, more than there are pauses: each makes progress. If-Range names the version, never a weak ETag."""
    page = Page(BODY, breaks=[100_000, 1, 50_000, 70_000], **version)
    told = version.get("modified") or version["etag"]
    assert bring(web, tmp_path, page) == BODY
    assert web.asked("/f") == [(None, None), *((f"bytes={n}-", told) for n in (100_000, 100_001, 150_001, 220_001))]


def test_a_later_command_goes_on(web, tmp_path):
    web.pages["/f"] = Page(BODY, breaks=[120_000, 0, 0])
    with pytest.raises(MetaError, match=r"no answer \(.*\), http://127.0.0.1:\d+/f; check the network"):
        bring(web, tmp_path)
    assert names(tmp_path / "sub") == ["f.part", "f.part.json"]
    assert (tmp_path / "sub" / "f.part").read_bytes() == BODY[:120_000]
    assert bring(web, tmp_path) == BODY
    assert web.asked("/f")[-1] == ("bytes=120000-", '"1"')


@pytest.mark.parametrize("strict", [True, False])
def test_a_file_that_changed_between_the_attempts(web, tmp_path, strict):
    """Never half of one version and half of another, also with a server that does not know If-Range."""
    web.pages["/f"] = Page(bytes(len(BODY)), breaks=[120_000, 0, 0], etag='"old"')
    with pytest.raises(MetaError, match="no answer"):
        bring(web, tmp_path)
    new = Page(BODY, etag='"new"')
    if not strict:
        new.etag, new.extra = None, [("ETag", '"new"')]  # told, but not compared
        new.modified = '"old"'
    assert bring(web, tmp_path, new) == BODY


def test_no_ranges(web, tmp_path, caplog):
    caplog.set_level("INFO", "libmeta")
    assert bring(web, tmp_path, Page(BODY, ranges=False, breaks=[100_000])) == BODY
    assert "from its start again" in caplog.text


def test_no_version_told(web, tmp_path):
    """With a checksum the rest is asked for all the same; without one it starts again."""
    assert bring(web, tmp_path, Page(BODY, etag=None, breaks=[100_000])) == BODY
    assert web.asked("/f")[-1] == ("bytes=100000-", None)
    web.pages["/g"] = Page(BODY, etag=None, breaks=[100_000, 0, 0])
    remote = Remote(f"{web.url}/g")
    with pytest.raises(MetaError, match="no answer"):
        fetch(remote, tmp_path / "g", pauses=PAUSES)
    fetch(remote, tmp_path / "g", pauses=PAUSES)
    assert (tmp_path / "g").read_bytes() == BODY
    assert web.asked("/g")[-1] == (None, None)


def test_parts_of_another_address_are_not_used(web, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.part").write_bytes(bytes(1000))
    (tmp_path / "sub" / "f.part.json").write_text('{"url": "http://elsewhere/f", "validator": "x"}')
    assert bring(web, tmp_path, Page(BODY)) == BODY
    (tmp_path / "sub" / "f").unlink()
    (tmp_path / "sub" / "f.part").write_bytes(bytes(1000))
    (tmp_path / "sub" / "f.part.json").write_text("{")
    assert bring(web, tmp_path) == BODY


def test_more_there_than_the_server_has(web, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.part").write_bytes(bytes(len(BODY) + 5))
    (tmp_path / "sub" / "f.part.json").write_text(f'{{"url": "{web.url}/f", "validator": "\\"1\\""}}')
    assert bring(web, tmp_path, Page(BODY)) == BODY
    assert [r for r, _ in web.asked("/f")] == [f"bytes={len(BODY) + 5}-", None]


def test_wrong_checksum(web, tmp_path):
    with pytest.raises(MetaError, match=f"checksum wrong: md5 {MD5} where {'0' * 32} is published, http.*removed"):
        bring(web, tmp_path, Page(BODY), md5="0" * 32)
    assert names(tmp_path / "sub") == []


def test_wrong_length(web, tmp_path):
    with pytest.raises(MetaError, match=r"300,000 bytes where 7 are published, http.*what came is removed"):
        bring(web, tmp_path, Page(BODY), size=7)
    assert names(tmp_path / "sub") == []
    with pytest.raises(MetaError, match=r"300,000 bytes where 300,001 are published"):
        bring(web, tmp_path, Page(BODY, hides_length=True), size=300_001, md5=None)
    assert names(tmp_path / "sub") == []


def test_no_length(web, tmp_path):
    assert bring(web, tmp_path, Page(BODY, hides_length=True), size=None) == BODY


def test_servers_that_are_busy_and_gone(web, tmp_path):
    assert bring(web, tmp_path, Page(BODY, codes=[503, 429])) == BODY
    web.pages["/f"] = Page(BODY, codes=[500] * 5)
    (tmp_path / "sub" / "f").unlink()
    with pytest.raises(MetaError, match=r"no answer \(HTTP 500\)"):
        bring(web, tmp_path)
    for code, says in ((404, "it has moved"), (403, "access is refused"), (410, "look at it in a browser")):
        web.pages["/f"].codes = [code]
        with pytest.raises(MetaError, match=rf"HTTP {code} .*, http.*/f; {says}"):
            bring(web, tmp_path)
    with pytest.raises(MetaError, match=r"no answer \(.*\), http://127.0.0.1:1/f; check the network"):
        fetch(Remote("http://127.0.0.1:1/f"), tmp_path / "x", pauses=PAUSES)


def test_no_space(web, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage(9, 9, 299_999))
    with pytest.raises(MetaError, match="no space: 300,000 bytes needed, 299,999 free"):
        bring(web, tmp_path, Page(BODY))
    assert web.seen == []
    with pytest.raises(MetaError, match="no space: 300,000 bytes needed"):  # told by the server
        bring(web, tmp_path, size=None)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full, which stands for a full disk")
def test_disk_that_fills_up(web, tmp_path, monkeypatch):
    web.pages["/f"] = Page(BODY)
    taken = downloads._Part._look_back

    def full(self):
        taken(self)
        os.dup2(os.open("/dev/full", os.O_WRONLY), self._handle.fileno())

    monkeypatch.setattr(downloads._Part, "_look_back", full)
    with pytest.raises(MetaError, match="no space: 300,000 bytes needed"):
        bring(web, tmp_path)


def test_two_commands_at_once(web, tmp_path):
    import fcntl

    (tmp_path / "sub").mkdir()
    with open(tmp_path / "sub" / "f.part", "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(MetaError, match=r"another command fetches it, .*f.part; wait"):
            bring(web, tmp_path, Page(BODY))


def test_a_file_of_another_size_is_not_overwritten(web, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f").write_bytes(b"mine")
    with pytest.raises(MetaError, match=r"4 bytes where http.* has 300,000, .*f; remove it"):
        bring(web, tmp_path, Page(BODY))
    assert (tmp_path / "sub" / "f").read_bytes() == b"mine"


def test_redirects_keep_the_range(web, tmp_path):
    web.pages["/real"] = Page(BODY, breaks=[100_000])
    assert bring(web, tmp_path, Page(b"", moved="/real")) == BODY
    assert web.asked("/real") == [(None, None), ("bytes=100000-", '"1"')]


def test_header_fields(web):
    web.pages["/f"] = Page(BODY, extra=[("x-goog-hash", "crc32c=AA=="), ("x-goog-hash", "md5=BB==")])
    found = downloads.headers(f"{web.url}/f", PAUSES)
    assert found["content-length"] == "300000"
    assert found["x-goog-hash"] == "crc32c=AA==,md5=BB=="
    web.pages["/f"].no_head = True
    assert downloads.headers(f"{web.url}/f", PAUSES)["content-length"] == "300000"
    with pytest.raises(MetaError, match="HTTP 404"):
        downloads.headers(f"{web.url}/none", PAUSES)


def test_small_texts(web):
    web.pages["/t"] = Page("äb".encode(), codes=[502], breaks=[1])
    assert downloads.text(f"{web.url}/t", pauses=PAUSES) == "äb"
