"""VCF and BCF in and out, record by record. Text records pass through as they are: only INFO is touched.

Text (plain, gzip, bgzip) is split by hand, so that a broken line is known by its number and the next one is read as if
nothing had happened; BCF goes through htslib both ways.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pysam
from pysam import bcftools

from libmeta.errors import CUT_SHORT, USAGE, MetaError
from libmeta.lines import reading
from libmeta.streams import atomic

_CONTIG = re.compile(r"^##contig=<(?:.*,)?ID=([^,>]+)")
_LENGTH = re.compile(r"[<,]length=(\d+)")
_REF = re.compile(rb"^(?:[A-Za-z]+|\.)$")
_ALT = re.compile(rb"^[^\s,;]+$")
_FIXED = 8


@dataclass
class Record:
    """A record: its line (BCF: record) number from 1, its fixed columns and, joined, the rest, as bytes."""

    number: int
    columns: list[bytes]
    chrom: str
    pos: int
    ref: str
    alts: list[str]

    def line(self, drop: frozenset[bytes], info: list[bytes]) -> bytes:
        """The record with further INFO entries, those of the keys `drop` taken out; everything else as it was."""
        kept = [e for e in self.columns[7].split(b";") if e != b"." and e and e.partition(b"=")[0] not in drop]
        return b"\t".join([*self.columns[:7], b";".join(kept + info) or b".", *self.columns[8:]]) + b"\n"


@dataclass(frozen=True)
class Broken:
    """A line that is no record: its number and what is wrong with it."""

    number: int
    what: str


class Reader:
    """Reads "-" or a file; a context manager, and an iterator over Record and Broken.

    header: its ## lines; columns: the #CHROM line; contigs: {name: length or None} of the header.
    """

    def __init__(self, source: str):
        self.source, self.where = source, "standard input" if source == "-" else source
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            handle = stack.enter_context(reading(self.source))
            if handle.peek(3)[:3] == b"BCF":
                self._open_bcf(handle, stack)
            else:
                self._open_text(handle)
            self._stack = stack.pop_all()
        self.contigs = {}
        for line in self.header:
            if match := _CONTIG.match(line):
                length = _LENGTH.search(line)
                self.contigs[match[1]] = int(length[1]) if length else None
        return self

    def __exit__(self, kind, error, trace):
        return self._stack.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Record | Broken]:
        width = len(self.columns.split("\t"))
        for number, line in enumerate(self._lines, self._first):
            if not line.strip():
                continue
            item = parse(line, number, width)
            if isinstance(item, Broken) and not line.endswith(b"\n"):
                raise MetaError(
                    f"input cut short, {self.where} line {number}: it ends in the middle of a record; make it again",
                    CUT_SHORT,
                )
            yield item

    def _open_text(self, handle) -> None:
        self.header, self._first = [], 1
        for line in handle:
            self._first += 1
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if self._first == 2 and not text.startswith("##fileformat=VCF"):
                raise MetaError(f"not VCF (no ##fileformat=VCF line), {self.where} line 1; give VCF or BCF")
            if not text.startswith("##"):
                break
            self.header.append(text)
        else:
            raise MetaError(f"input cut short, {self.where}: no #CHROM line; make it again", CUT_SHORT)
        if not text.startswith("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"):
            raise MetaError(f"not the #CHROM line of a VCF, {self.where} line {self._first - 1}; mend the header")
        self.columns, self._lines = text, handle

    def _open_bcf(self, handle, stack) -> None:
        pysam.set_verbosity(0)  # what htslib would say is said here
        try:
            if self.source == "-":
                file = stack.enter_context(pysam.VariantFile(_through_pipe(handle)))
            else:
                file = stack.enter_context(pysam.VariantFile(self.source))
        except (OSError, ValueError) as error:
            raise MetaError(f"cannot read BCF, {self.where}; make it again", CUT_SHORT) from error
        *self.header, self.columns = str(file.header).rstrip("\n").split("\n")
        self._first, self._lines = 1, self._bcf_lines(file)

    def _bcf_lines(self, file) -> Iterator[bytes]:
        number = 0
        try:
            for record in file:
                number += 1
                yield str(record).encode()
        except (OSError, ValueError) as error:
            raise MetaError(f"damaged BCF after record {number:,}, {self.where}; make it again", CUT_SHORT) from error


def parse(line: bytes, number: int, width: int) -> Record | Broken:
    """One line of text. width: columns that the header has."""
    columns = line.rstrip(b"\r\n").split(b"\t", _FIXED)
    found = line.count(b"\t") + 1
    if len(columns) < _FIXED or found != width:
        return Broken(number, f"{found} tab-separated columns where the header has {width}")
    chrom, pos, _, ref, alt, qual = columns[:6]
    if not chrom or chrom.split() != [chrom]:
        return Broken(number, "no contig name")
    if not pos.isdigit():
        return Broken(number, f"POS {_shown(pos)} is not a number")
    if not _REF.match(ref):
        return Broken(number, f"REF {_shown(ref)} is not a sequence")
    alts = [] if alt == b"." else alt.split(b",")
    if any(not _ALT.match(a) for a in alts):
        return Broken(number, f"ALT {_shown(alt)} has an empty allele or a space")
    if qual != b"." and not _number(qual):
        return Broken(number, f"QUAL {_shown(qual)} is not a number")
    try:
        return Record(number, columns, chrom.decode(), int(pos), ref.decode(), [a.decode() for a in alts])
    except UnicodeDecodeError:
        return Broken(number, "not text")


def _number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(text: bytes) -> str:
    return repr(text[:20].decode("utf-8", "replace"))


def _through_pipe(handle):
    """A file object with a descriptor that htslib can read, fed from bytes that were already looked at."""
    out, into = os.pipe()

    def feed():
        # the reader may leave early
        with contextlib.suppress(BrokenPipeError), os.fdopen(into, "wb") as sink:
            shutil.copyfileobj(handle, sink)

    threading.Thread(target=feed, daemon=True).start()
    return os.fdopen(out, "rb")


# ---- writing --------------------------------------------------------------------------------------------------------


class Writer:
    """Writes text lines as kind v (VCF), z (bgzip), b (BCF) or u (uncompressed BCF) to "-" or a file, atomically; a
    context manager. header: all lines up to #CHROM. index: also write a .csi (kinds z and b, a file)."""

    def __init__(self, target: str, kind: str, header: list[str], index: bool = False):
        if index and (target == "-" or kind not in "zb"):
            raise MetaError(
                "an index needs a bgzipped VCF or a BCF in a file, --write-index; give -o FILE.vcf.gz", USAGE
            )
        self.target, self.kind, self.index = target, kind, index
        self.header = "".join(f"{line}\n" for line in header).encode()

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        path = "-"
        if self.target != "-":
            path = str(self._stack.enter_context(atomic(self.target)))
        if self.kind == "v":
            sink = sys.stdout.buffer if path == "-" else self._stack.enter_context(open(path, "wb"))
        elif self.kind == "z":
            sink = self._stack.enter_context(_bgzip(path))
        else:
            sink = self._stack.enter_context(_AsBcf(path, self.kind, self.target))
        self._write = sink.write
        self._write(self.header)
        return self

    def write(self, line: bytes) -> None:
        """Append one record."""
        self._write(line)

    def __exit__(self, kind, error, trace):
        self._stack.__exit__(kind, error, trace)
        if kind is None and self.index:
            with atomic(f"{self.target}.csi") as path:
                if self.kind == "b":
                    bcftools.index("-f", "-c", "-o", str(path), self.target, catch_stdout=False)
                else:
                    pysam.tabix_index(self.target, preset="vcf", csi=True, force=True, index=str(path))


@contextlib.contextmanager
def _bgzip(path: str):
    file = pysam.BGZFile(path, "wb")
    try:
        yield file
    finally:
        file.close()


class _AsBcf:
    """Text in, BCF out, through the bcftools that pysam brings, in a process of its own.

    pysam's own writer would add END to records with symbolic alleles.
    """

    PROGRAM = (
        "import sys; from pysam import bcftools; "
        "bcftools.view('--no-version', '-I', '-O', sys.argv[1], '-o', sys.argv[2], '-', catch_stdout=False)"
    )

    def __init__(self, path: str, kind: str, shown: str):
        self.command = [sys.executable, "-c", self.PROGRAM, kind, path]
        self.shown = "standard output" if shown == "-" else shown

    def __enter__(self):
        self._told = tempfile.TemporaryFile()
        self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stderr=self._told)
        return self

    def write(self, data: bytes) -> None:
        """Append text; a process that has given up is an error that says why."""
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            self._finish()
            raise

    def _finish(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait():
            self._told.seek(0)
            why = [x for x in self._told.read().decode("utf-8", "replace").splitlines() if x.startswith("[E::")]
            raise MetaError(
                f"htslib does not take the records as BCF, {self.shown} ({(why or ['no reason given'])[0]}); check INFO "
                "and FORMAT against the header, or write VCF (-O z)"
            )

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self._finish()
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._told.close()


def output_kind(output: str, asked: str | None) -> str:
    """v, z, b, u, tsv, parquet or arrow: as asked, else by the file's ending. MetaError where the two disagree."""
    endings = {".vcf": "v", ".vcf.gz": "z", ".vcf.bgz": "z", ".bcf": "b", ".tsv": "tsv", ".parquet": "parquet",
               ".arrow": "arrow"}  # fmt: skip
    name = Path(output).name
    ending = max((e for e in endings if name.endswith(e)), key=len, default=None)
    if asked is None:
        if ending is None and output != "-":
            raise MetaError(f"unknown ending, -o {output}; use one of {', '.join(endings)}, or -O", USAGE)
        return endings.get(ending, "v")
    if asked == "parquet" and output == "-":
        raise MetaError("Parquet needs a file, -o; give -o FILE.parquet, or -O arrow for a stream", USAGE)
    if ending and endings[ending] != asked and not (endings[ending] == "b" and asked == "u"):
        raise MetaError(f"-O {asked} against the ending of {output}; leave one of them out", USAGE)
    return asked
