"""Line-based text inputs: plain, gzip or bgzip, with truncation told."""

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from libmeta.errors import CUT_SHORT, MetaError
from libmeta.streams import open_input

GZIP_MAGIC = b"\x1f\x8b"
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
BUFFER = 1 << 20


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[io.BufferedReader]:
    """Open a text input for reading bytes, line by line; it has .peek.

    Raises MetaError for a missing or empty input, and CUT_SHORT for a gzip or bgzip file that ends early, also when
    that shows only while the block reads.
    """
    with contextlib.ExitStack() as stack:
        handle = stack.enter_context(open_input(path))
        if not handle.peek(1)[:1]:
            raise MetaError(f"empty input, {path}; make or download it again", CUT_SHORT)
        if handle.peek(2)[:2] == GZIP_MAGIC:
            _check_bgzf_end(path, handle.peek(18)[:18])
            inner = stack.enter_context(gzip.GzipFile(fileobj=handle))
            handle = stack.enter_context(io.BufferedReader(inner, BUFFER))
        try:
            if not handle.peek(1)[:1]:
                raise MetaError(f"empty input, {path}; make or download it again", CUT_SHORT)
            yield handle
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise MetaError(f"truncated or damaged gzip, {path}; make or download it again", CUT_SHORT) from error


def head(handle: io.BufferedReader, skip: tuple[bytes, ...] = (b"#",)) -> list[bytes]:
    """The first lines, up to and with the first that is neither blank nor starts with one of `skip`."""
    lines = []
    for line in handle:
        lines.append(line)
        if line.strip() and not line.startswith(skip):
            break
    return lines


def _check_bgzf_end(path: str | Path, head: bytes) -> None:
    """A bgzip file cut at a block boundary reads without complaint: only its end block tells."""
    if head[12:14] != b"BC" or str(path) == "-":
        return
    with open(path, "rb") as handle:
        handle.seek(max(0, os.path.getsize(path) - len(BGZF_END)))
        if handle.read() != BGZF_END:
            raise MetaError(f"truncated bgzip (no end block), {path}; make or download it again", CUT_SHORT)
