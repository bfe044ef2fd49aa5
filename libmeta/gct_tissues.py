"""`python -m libmeta.gct_tissues`: a junction GCT of many samples -> one small junction file per tissue, samples summed.

GTEx v8 has 17,382 samples: as tissues of their own they would fill the memory, and it is tissues that the columns are
about. The tables are TSV (chrom start end strand count, 0-based, strand as the GCT tells it), which every ms- tool reads.
"""

import argparse
import csv as text_csv
import gzip
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from libmeta.errors import MetaError
from libmeta.junction_files import gct_batches, gct_place
from libmeta.lines import reading
from libmeta.streams import atomic

ENDING = ".junctions.tsv.gz"


def tissues_of(path: str | Path) -> dict[str, str]:
    """{sample: tissue} of a GTEx table of sample attributes (columns SAMPID and SMTSD)."""
    with reading(path) as handle:
        rows = text_csv.reader((line.decode("utf-8", "replace") for line in handle), delimiter="\t", quoting=3)
        header = next(rows)
        if lacking := [c for c in ("SAMPID", "SMTSD") if c not in header]:
            raise MetaError(f"no column {lacking[0]}, {path}; give GTEx's SampleAttributesDS.txt")
        sample, tissue = header.index("SAMPID"), header.index("SMTSD")
        return {row[sample]: row[tissue] for row in rows if len(row) > max(sample, tissue) and row[tissue]}


def summed(path: str | Path, tissue_of: dict[str, str]) -> tuple[list[str], Iterator[tuple[list[str], np.ndarray]]]:
    """(tissues, batches of (names of junctions, reads int64 (n, tissues))). Samples without a tissue are left out.

    Raises MetaError for a malformed or cut GCT, and where no sample has a tissue.
    """
    samples, batches = gct_batches(path)
    tissues = sorted({tissue_of[s] for s in samples if s in tissue_of})
    if not tissues:
        raise MetaError(f"no sample of {path} has a tissue; give the attributes of the same release")
    member = np.zeros((len(samples), len(tissues)))
    for i, sample in enumerate(samples):
        if sample in tissue_of:
            member[i, tissues.index(tissue_of[sample])] = 1
    return tissues, ((names, np.rint(counts @ member).astype(np.int64)) for names, counts in batches)


def write(path: str | Path, attributes: str | Path, folder: Path) -> list[Path]:
    """FOLDER/TISSUE.junctions.tsv.gz of every tissue with a read, all of them or none."""
    tissues, batches = summed(path, tissues_of(attributes))
    names = [re.sub(r"[^A-Za-z0-9]+", "_", t).strip("_") for t in tissues]
    if len(set(names)) < len(names):
        raise MetaError(f"two tissues of one name, {attributes}; rename one")
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"{name}{ENDING}" for name in names]
    with ExitStack() as stack:
        # no time in the gzip header: the same input gives the same bytes
        files = [
            stack.enter_context(gzip.GzipFile("", "wb", 1, stack.enter_context(open(stack.enter_context(atomic(p)), "wb")), 0))
            for p in made
        ]  # fmt: skip
        for file in files:
            file.write(b"chrom\tstart\tend\tstrand\tcount\n")
        row = 4
        for junctions, counts in batches:
            places = [gct_place(name, number, str(path)) for number, name in enumerate(junctions, row)]
            row += len(junctions)
            heads = [f"{c}\t{a}\t{b}\t{'.+-'[s]}\t" for c, a, b, s in places]
            for t, file in enumerate(files):
                at = np.flatnonzero(counts[:, t])
                file.write(
                    "".join(
                        f"{heads[i]}{n}\n" for i, n in zip(at.tolist(), counts[at, t].tolist(), strict=True)
                    ).encode()
                )
    return made


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m libmeta.gct_tissues", description=__doc__.splitlines()[0])
    parser.add_argument("gct", help="junctions by samples, plain or gzip")
    parser.add_argument("attributes", help="GTEx's SampleAttributesDS.txt")
    parser.add_argument("folder", type=Path, help="where to write")
    options = parser.parse_args(arguments)
    made = write(options.gct, options.attributes, options.folder)
    sys.stderr.write(f"gct_tissues: {len(made)} tissues in {options.folder}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MetaError as error:
        sys.stderr.write(f"gct_tissues: error: {error}\n")
        raise SystemExit(error.code) from None
