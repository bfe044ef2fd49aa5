"""Rows of an input that is parsed once, kept by contig on disk, so that memory holds one contig of it."""

import tempfile
import weakref
from collections.abc import Iterable

import pyarrow as pa


class ContigSpool:
    """rows: (contig, record batch) in any order, all of one schema; form: that schema, for contigs without any.

    They go to a temporary file that nobody else sees and that is gone with this object.
    """

    def __init__(self, rows: Iterable[tuple[str, pa.RecordBatch]], form: pa.Schema):
        self._form, self._batches = form, {}
        handle = tempfile.TemporaryFile(prefix="ms-contigs-")  # noqa: SIM115 (closed with this object)
        self._close = weakref.finalize(self, handle.close)
        with pa.ipc.new_file(handle, form) as writer:
            for i, (chrom, batch) in enumerate(rows):
                writer.write_batch(batch)
                self._batches.setdefault(chrom, []).append(i)
        self._reader = pa.ipc.open_file(handle)

    def table(self, chrom: str) -> pa.Table:
        """The rows of a contig in the order in which they came."""
        return pa.Table.from_batches([self._reader.get_batch(i) for i in self._batches.get(chrom, [])], self._form)
