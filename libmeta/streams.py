"""Arrow streams and Parquet in and out: end mark, atomic files, provenance chain.

An Arrow stream of ours ends in an empty batch whose custom metadata holds the row count. Without it a writer that was
killed looks like a complete stream; a reader that misses it raises CUT_SHORT.
"""

import contextlib
import glob
import hashlib
import io
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from libmeta import __version__
from libmeta.errors import CUT_SHORT, NOTHING_TO_SCORE, MetaError

END_MARK = b"ms.end"
PARQUET_MAGIC = b"PAR1"
ARROW_MAGICS = (b"\xff\xff\xff\xff", b"ARRO")
WHOLE_HASH_LIMIT = 256 << 20


# ---- provenance -----------------------------------------------------------------------------------------------------


def fingerprint(path: str | Path) -> str:
    """Hash of a file's content: sha256 up to 256 MB; beyond, of its size and 256 blocks of 1 MB spread evenly."""
    size = os.path.getsize(path)
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        if size <= WHOLE_HASH_LIMIT:
            while block := handle.read(1 << 20):
                digest.update(block)
            return f"sha256:{digest.hexdigest()}"
        digest.update(str(size).encode())
        for i in range(256):
            handle.seek((size - (1 << 20)) * i // 255)
            digest.update(handle.read(1 << 20))
    return f"sampled-sha256:{digest.hexdigest()}"


def step(
    tool: str, arguments: list[str], inputs: dict[str, str | Path], upstream: tuple = (), settings: dict | None = None
) -> list[dict]:
    """The provenance chain of an output: the chains of its inputs, each step once, then this command.

    inputs: name -> path of every file read, hashed here. upstream: chains (lists of steps) of inputs of ours.
    settings: what ms.toml says beside file names that changes the output.
    """
    chain: list[dict] = []
    for steps in upstream:
        chain += [s for s in steps if s not in chain]
    hashes = {name: fingerprint(path) for name, path in sorted(inputs.items())}
    mine = {"tool": tool, "version": __version__, "arguments": list(arguments), "inputs": hashes}
    return [*chain, {**mine, "settings": settings} if settings else mine]


def metadata(format_name: str, version: int, provenance: list[dict], **extra) -> dict[bytes, bytes]:
    """Schema metadata of an output: ms.format, ms.version, ms.provenance, and any further JSON values as ms.NAME."""
    values = {"format": format_name, "version": version, "provenance": provenance, **extra}
    return {f"ms.{k}".encode(): json.dumps(v, sort_keys=True).encode() for k, v in values.items()}


def read_metadata(schema: pa.Schema) -> dict:
    """The ms.* entries of a schema's metadata, without the prefix, decoded."""
    entries = (schema.metadata or {}).items()
    return {k.decode()[3:]: json.loads(v) for k, v in entries if k.startswith(b"ms.")}


# ---- writing --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it when the block ends well, remove it when it does not."""
    path = Path(path)
    if path.is_dir():
        raise MetaError(f"output is a folder, {path}; name a file")
    if not path.parent.is_dir():
        raise MetaError(f"no folder to write to, {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise MetaError(f"folder is not writable, {path.parent}; write elsewhere with -o")
    _remove_left_over(path)
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_left_over(path: Path) -> None:
    """Temporary files of this output whose process, on this machine, was killed."""
    start = f".{path.name}.{platform.node()}."
    for old in path.parent.glob(f"{glob.escape(start)}*.tmp"):
        number = old.name[len(start) : -len(".tmp")]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            old.unlink(missing_ok=True)
        except (ValueError, PermissionError):
            continue


class _Sink(io.RawIOBase):
    """A file that pyarrow writes to and that keeps Python's own errors (closed pipe, disk full) intact."""

    def __init__(self, handle):
        self.handle = handle

    def writable(self):
        return True

    def write(self, data):
        self.handle.write(data)
        return len(data)

    def flush(self):
        self.handle.flush()


class Writer:
    """Write record batches to stdout ("-", Arrow stream), FILE.arrow (Arrow stream) or FILE.parquet; a context manager.

    The end mark or the Parquet footer is written, and the file appears, only when the block ends without an error.
    """

    def __init__(self, target: str | Path, schema: pa.Schema):
        self.target, self.schema, self.rows = str(target), schema, 0
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        if self.target == "-":
            handle = sys.stdout.buffer
        else:
            path = self._stack.enter_context(atomic(self.target))
            handle = self._stack.enter_context(open(path, "wb"))
        self._handle = handle
        if self.target.endswith(".parquet"):
            self._writer = pq.ParquetWriter(_Sink(handle), self.schema, compression="zstd")
        else:
            self._writer = ipc.new_stream(_Sink(handle), self.schema)
        return self

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append a batch; its columns must be those of the schema."""
        for piece in batch.to_batches() if isinstance(batch, pa.Table) else (batch,):
            if not piece.num_rows:
                continue
            piece = pa.RecordBatch.from_arrays(piece.columns, schema=self.schema)
            if isinstance(self._writer, pq.ParquetWriter):
                # a row group for each batch: a reader holds one at a time
                self._writer.write_table(pa.Table.from_batches([piece]))
            else:
                self._writer.write_batch(piece)
            self.rows += piece.num_rows

    def __exit__(self, kind, error, trace):
        if kind is None:
            if not isinstance(self._writer, pq.ParquetWriter):
                mark = {END_MARK: str(self.rows).encode()}
                empty = [pa.array([], f.type) for f in self.schema]
                self._writer.write_batch(pa.RecordBatch.from_arrays(empty, schema=self.schema), custom_metadata=mark)
            self._writer.close()
            self._handle.flush()
        elif isinstance(self._writer, pq.ParquetWriter):
            self._writer.is_open = False  # no footer for a file that is being thrown away
        return self._stack.__exit__(kind, error, trace)


# ---- reading --------------------------------------------------------------------------------------------------------


class Stream:
    """An open table of ours: .schema, .metadata (ms.* decoded), .provenance, .name, and batches by iteration (once)."""

    def __init__(self, name: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]):
        self.name, self.schema, self._batches = name, schema, batches
        self.metadata = read_metadata(schema)
        self.provenance = self.metadata.get("provenance", [])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches

    def table(self) -> pa.Table:
        """All rows."""
        return pa.Table.from_batches(list(self), self.schema)

    def expect(self, *formats: str) -> "Stream":
        """Check the format name in the metadata."""
        found = self.metadata.get("format")
        if found not in formats:
            has = f"holds {found}" if found else "has no ms.format in its metadata"
            raise MetaError(
                f"not a {' or '.join(formats)} table, {self.name}: it {has}; give a file made by an ms- tool"
            )
        return self


def open_input(source: str | Path) -> io.BufferedReader:
    """Open "-" or a file for reading bytes, with .peek; a missing or empty input is an error."""
    if str(source) == "-":
        if sys.stdin.isatty():
            raise MetaError("nothing on standard input; pipe something in or name a file", 2)
        return sys.stdin.buffer
    path = Path(source)
    if not path.exists():
        raise MetaError(f"no such file, {path}; check the path")
    if path.is_dir():
        raise MetaError(f"a folder where a file is needed, {path}; name a file in it")
    return open(path, "rb")


def input_kind(handle: io.BufferedReader, name: str) -> str:
    """ "parquet", "arrow" or "text", from the first bytes."""
    start = handle.peek(4)[:4]
    if not start:
        if name == "-":
            raise MetaError("empty input, standard input; the command before it failed", CUT_SHORT)
        code = CUT_SHORT if name.endswith((".arrow", ".parquet")) else NOTHING_TO_SCORE
        raise MetaError(f"empty file, {name}; make it again", code)
    if start == PARQUET_MAGIC:
        return "parquet"
    return "arrow" if start in ARROW_MAGICS else "text"


def open_table(source: str | Path, handle: io.BufferedReader | None = None) -> Stream:
    """Open an Arrow stream or Parquet file of ours ("-" is standard input); raises CUT_SHORT where it ends early."""
    name = str(source)
    handle = handle or open_input(source)
    shown = _shown(name)
    try:
        kind = input_kind(handle, name)
        if kind == "text":
            raise MetaError(f"neither Arrow nor Parquet, {shown}; give a table made by an ms- tool")
        if kind == "parquet":
            # pre_buffer would keep the whole file in memory
            file = pq.ParquetFile(io.BytesIO(handle.read()) if name == "-" else name, pre_buffer=False)
            handle.close()
            return Stream(shown, file.schema_arrow, _guard(file.iter_batches(), shown))
        reader = ipc.open_stream(handle)
        return Stream(shown, reader.schema, _to_end_mark(reader, handle, shown))
    except (pa.ArrowInvalid, EOFError) as error:
        handle.close()
        raise _cut(shown, "its start or footer cannot be read") from error
    except MetaError:
        handle.close()
        raise


def _shown(name: str) -> str:
    return "standard input" if name == "-" else name


def _cut(name: str, what: str) -> MetaError:
    who = "the command before it failed: see its message" if name == "standard input" else "make the file again"
    return MetaError(f"input cut short, {name}: {what}; {who}", CUT_SHORT)


def _guard(batches, name: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except (pa.ArrowInvalid, OSError) as error:
        raise _cut(name, "a damaged row group") from error


def _to_end_mark(reader: ipc.RecordBatchStreamReader, handle, name: str) -> Iterator[pa.RecordBatch]:
    rows, promised = 0, None
    with handle:
        while True:
            try:
                item = reader.read_next_batch_with_custom_metadata()
            except StopIteration:
                break
            except (pa.ArrowInvalid, OSError) as error:
                raise _cut(name, f"a damaged batch after {rows:,} rows") from error
            extra = item.custom_metadata
            if extra is not None and END_MARK in extra:
                promised = int(extra[END_MARK])
                continue  # read on to the stream's own end, so that the writer never meets a closed pipe
            rows += item.batch.num_rows
            yield item.batch
    if promised is None:
        raise _cut(name, f"no end mark after {rows:,} rows")
    if promised != rows:
        raise _cut(name, f"{rows:,} rows where the end mark says {promised:,}")
