"""BED6 out: 0-based half-open, in the order given, provenance chain in # lines; files appear whole or not at all."""

import contextlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from libmeta.streams import atomic


def write_bed(target: str | Path, rows: Iterable[tuple], provenance: list[dict]) -> int:
    """Write (chrom, start, end, name, score, strand) rows to a file, or to stdout for "-"; returns how many."""
    with contextlib.ExitStack() as stack:
        if str(target) == "-":
            handle = sys.stdout
        else:
            path = stack.enter_context(atomic(target))
            handle = stack.enter_context(open(path, "w", encoding="utf-8", newline="\n"))
        for step in provenance:
            handle.write(f"#ms.provenance {json.dumps(step, sort_keys=True)}\n")
        n = 0
        for n, row in enumerate(rows, 1):  # noqa: B007
            handle.write("\t".join(map(str, row)) + "\n")
        handle.flush()
    return n
