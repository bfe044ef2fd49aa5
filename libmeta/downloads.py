"""Large files over HTTP: resumed where they stopped, compared with their published size and checksum, whole or not at all.

While it comes, a file is FILE.part, with FILE.part.json beside it: which address and version (ETag, Last-Modified) it is
of. A later attempt asks for the rest of that very version (Range with If-Range); a server that has another one, or cannot
send parts, sends the whole, and that replaces what was there.
"""

import contextlib
import errno
import fcntl
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from libmeta import __version__
from libmeta.errors import MetaError

log = logging.getLogger("libmeta")

CHUNK = 1 << 20
TIMEOUT = 60  # seconds without a byte
PAUSES = (1, 2, 5, 15, 30, 60)  # seconds before each further attempt; progress starts them anew
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP codes that may be gone a moment later
_SMALL = 64 << 20  # most bytes of a list or record that is read into memory
_REMEDIES = {403: "access is refused", 404: "it has moved: look up its address and mend the list of sources"}
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError)


@dataclass(frozen=True)
class Remote:
    """A file to fetch. size in bytes, md5 in hex; None where nobody tells."""

    url: str
    size: int | None = None
    md5: str | None = None


def ask(url: str, headers: dict | None = None, method: str = "GET"):
    """An open answer (http.client.HTTPResponse). Raises urllib's errors."""
    told = {"User-Agent": f"ms-tools/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
    return urllib.request.urlopen(urllib.request.Request(url, headers=told, method=method), timeout=TIMEOUT)


def patiently(work: Callable, url: str, pauses=PAUSES):
    """work(), again after each pause where the network or the server was only passing unwell; MetaError for the rest."""
    for pause in (*pauses, None):
        try:
            return work()
        except _BROKEN as error:
            what = _passing(error, url)
        _wait(pause, what, url)
    return None


def _passing(error: Exception, url: str) -> str:
    """What went wrong, where it may pass; MetaError where it will not."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code not in _PASSING:
            remedy = _REMEDIES.get(error.code, "look at it in a browser")
            raise MetaError(f"HTTP {error.code} {error.reason}, {url}; {remedy}") from error
        return f"HTTP {error.code}"
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise MetaError(f"its certificate is not to be trusted ({reason.verify_message}), {url}; check it") from error
    return str(reason) or type(reason).__name__


def _wait(pause: int | None, what: str, url: str) -> None:
    if pause is None:
        raise MetaError(f"no answer ({what}), {url}; check the network, then give the command again: it goes on")
    log.info("%s: %s; again in %d s", url, what, pause)
    time.sleep(pause)


def text(url: str, headers: dict | None = None, pauses=PAUSES) -> str:
    """A small text, a list of checksums say."""

    def work() -> str:
        with ask(url, headers) as answer:
            raw = answer.read(_SMALL + 1)
            length = answer.headers.get("Content-Length")
        if length and len(raw) < min(int(length), _SMALL):
            raise ConnectionError("the answer was cut short")
        return raw.decode("utf-8", "replace")

    return patiently(work, url, pauses)


def headers(url: str, pauses=PAUSES) -> dict[str, str]:
    """What a server says of a file without sending it: its header fields, names in lower case, repeated ones joined."""

    def work() -> dict:
        try:
            answer = ask(url, method="HEAD")
        except urllib.error.HTTPError as error:
            if error.code not in (403, 405, 501):  # no HEAD, or an address that is signed for GET
                raise
            error.close()
            answer = ask(url, {"Range": "bytes=0-0"})
        with answer:
            found = {}
            for name, value in answer.headers.items():
                found[name.lower()] = ",".join(filter(None, (found.get(name.lower()), value)))
            if answer.status == 206 and (total := _range(found.get("content-range"))[1]) is not None:
                found["content-length"] = str(total)
            return found

    return patiently(work, url, pauses)


def _range(value: str | None) -> tuple[int | None, int | None]:
    """(first byte, size of the whole) of a Content-Range."""
    match = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", value or "")
    if not match:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def fetch(remote: Remote, path: Path, tell: Callable[[int, int | None], None] = lambda have, size: None, pauses=PAUSES):
    """Bring a file to `path`; nothing is done where it is there with the right size.

    tell: called with (bytes there, bytes in all or None) as they come. Raises MetaError for what does not pass by itself:
    refused or unknown addresses, a server that stays away, no space, a wrong size or checksum (what came is removed then;
    in the other cases it is kept for the next attempt), a file there of another size, another fetch at work on it.
    """
    if path.exists():
        if remote.size in (None, path.stat().st_size):
            return
        raise MetaError(
            f"{path.stat().st_size:,} bytes where {remote.url} has {remote.size:,}, {path}; remove it to fetch it anew"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with _Part(path, remote) as part:
        left = iter(pauses)
        while not part.complete:
            before = part.have
            try:
                part.attempt(tell)
                continue
            except _BROKEN as error:
                what = _passing(error, remote.url)
            if part.have > before:
                left = iter(pauses)
            _wait(next(left, None), what, remote.url)
        part.finish()


class _Part:
    """What has come of a file, and of which version of it. A context manager that holds a lock on it."""

    def __init__(self, path: Path, remote: Remote):
        self.path, self.remote = path, remote
        self.file, self.about = Path(f"{path}.part"), Path(f"{path}.part.json")
        self.have, self.size, self.validator, self.complete = 0, remote.size, None, False

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._handle = stack.enter_context(open(self.file, "ab"))
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise MetaError(f"another command fetches it, {self.file}; wait for that one") from error
            self._look_back()
            stack.pop_all()
        return self

    def _look_back(self) -> None:
        """What an earlier attempt has left."""
        self.have = self._handle.tell()
        told = {}
        with contextlib.suppress(OSError, ValueError):
            told = json.loads(self.about.read_text(encoding="utf-8"))
        self.validator = told.get("validator")
        if told.get("url") != self.remote.url or not (self.validator or self.remote.md5):
            self._restart()  # of something else, or of a version that nothing would tell from another
        self.complete = self.have > 0 and self.have == self.remote.size
        self._check_space()

    def __exit__(self, kind, error, trace):
        self._handle.close()

    def attempt(self, tell: Callable) -> None:
        """Ask for what is missing and take what comes. Raises urllib's errors, ConnectionError where it ends early."""
        asking = {}
        if self.have:
            asking = {"Range": f"bytes={self.have}-"} | ({"If-Range": self.validator} if self.validator else {})
        try:
            answer = ask(self.remote.url, asking)
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            error.close()
            log.info("%s: it is another file now; from its start again", self.remote.url)
            self._restart()
            return
        with answer:
            if not self._fits(answer):
                return
            tell(self.have, self.size)
            while block := answer.read1(CHUNK):  # what has come is kept, however slow the rest is
                self._write(block)
                tell(self.have, self.size)
        if self.size is not None and self.have < self.size and self._promised is not None:
            raise ConnectionError(f"the connection ended after {self.have:,} of {self.size:,} bytes")
        self.complete = True

    def _fits(self, answer) -> bool:
        """Take in what the answer says of itself; False where it is a part of another version."""
        first, total = _range(answer.headers.get("Content-Range"))
        version = _validator(answer.headers)
        if answer.status == 206:
            if first != self.have or (self.validator and version and version != self.validator):
                log.info("%s: it changed; from its start again", self.remote.url)
                self._restart()
                return False
            self._promised = total or self.have + int(answer.headers.get("Content-Length") or 0) or None
        else:
            if self.have:
                log.info("%s: it changed, or the server sends no parts; from its start again", self.remote.url)
                self._restart()
            length = answer.headers.get("Content-Length")
            self._promised = int(length) if length else None
        if self._promised is not None:
            if self.remote.size not in (None, self._promised):
                raise self._refuse(f"{self._promised:,} bytes where {self.remote.size:,} are published")
            self.size = self._promised
            self._check_space()
        self.validator = version
        self.about.write_text(json.dumps({"url": self.remote.url, "validator": version}), encoding="utf-8")
        return True

    def _write(self, block: bytes) -> None:
        try:
            self._handle.write(block)
            self._handle.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise self._no_space() from error
        self.have += len(block)

    def _check_space(self) -> None:
        if self.size is not None and self.size - self.have > shutil.disk_usage(self.file.parent).free:
            raise self._no_space()

    def _no_space(self) -> MetaError:
        free = shutil.disk_usage(self.file.parent).free
        needed = "more" if self.size is None else f"{self.size - self.have:,} bytes"
        return MetaError(
            f"no space: {needed} needed, {free:,} free, {self.path.parent}; make room, then give the command again"
        )

    def _restart(self) -> None:
        self._handle.truncate(0)
        self.about.unlink(missing_ok=True)
        self.have, self.validator, self.size = 0, None, self.remote.size

    def finish(self) -> None:
        """Check what came and give it its name; remove it where it is not what was published."""
        if self.remote.size not in (None, self.have):
            raise self._refuse(f"{self.have:,} bytes where {self.remote.size:,} are published")
        if self.remote.md5 and (found := md5(self.file)) != self.remote.md5:
            raise self._refuse(f"checksum wrong: md5 {found} where {self.remote.md5} is published")
        os.fsync(self._handle.fileno())
        os.replace(self.file, self.path)
        self.about.unlink(missing_ok=True)

    def _refuse(self, what: str) -> MetaError:
        """Nothing of it may stay: no later attempt would make it whole."""
        self.file.unlink()
        self.about.unlink(missing_ok=True)
        return MetaError(f"{what}, {self.remote.url}; what came is removed: give the command again")


def _validator(fields) -> str | None:
    """What If-Range may hold: a strong ETag, else the date of the last change."""
    etag = fields.get("ETag")
    return etag if etag and not etag.startswith("W/") else fields.get("Last-Modified")


def md5(path: Path) -> str:
    """Hex md5 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
