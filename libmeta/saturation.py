"""Every variant of a region as records: what ms-delta --saturate scores in place of a VCF."""

import logging
from collections.abc import Iterator

import numpy as np

from libmeta.contigs import Contigs
from libmeta.errors import NOTHING_TO_SCORE, USAGE, MetaError
from libmeta.genome import Genome, decode
from libmeta.regions import Region, parse_region
from libmeta.vcf import Record

log = logging.getLogger("libmeta")

LARGEST = 1_000_000  # bp of one region: hours of work already; a whole contig is a slip, or a job for many machines
MOST_INDEL = 20  # bp of the longest deletion
CHUNK = 1_000  # records scored together, two stretches of the engine: fewer leave its workers idle, more take memory
_LETTERS = "ACGT"


def parse(text: str, contigs: Contigs) -> Region:
    """The region of --saturate, chr1:100-200. Raises MetaError for one that is too large or names a strand."""
    region = parse_region(text, contigs)
    if region.strand != ".":
        raise MetaError(f"a strand in --saturate {text}; leave it out: the genes there say which strands", USAGE)
    if region.end - region.start > LARGEST:
        raise MetaError(
            f"{region.end - region.start:,} bp are too many at once, --saturate {text}; name at most {LARGEST:,} and run "
            "several",
            USAGE,
        )
    return region


def read(text: str, genome: Genome, longest_indel: int) -> "Saturation":
    """The records of the region of --saturate; see parse and Saturation."""
    return Saturation(genome, parse(text, genome.contigs), longest_indel)


class Saturation:
    """The records of a region, one per allele, sorted: every SNV; with indels, every deletion of 1 to `longest_indel`
    bases and every insertion of one base, each once, in its left-aligned spelling.

    An allele belongs to the region that holds its first changed base (an insertion: the base that it comes before), so
    that neighbouring regions share none and miss none; a deletion may reach out on the right. Alleles whose spelling
    holds an unknown base are left out. It stands in for vcf.Reader: header, columns, contigs, where, iteration, and a
    context manager. total: records; codes: the region's bases. Raises NOTHING_TO_SCORE where no base is known.
    """

    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"

    def __init__(self, genome: Genome, region: Region, longest_indel: int = 0):
        self.genome, self.region, self.longest = genome, region, longest_indel
        self.where = f"--saturate {region.chrom}:{region.start + 1:,}-{region.end:,}"
        self.source = self.where
        self.header, self.contigs = ["##fileformat=VCFv4.2"], {}
        # one base before for the anchor, one behind the longest deletion for one at the start of a contig
        self._codes = genome.codes(region.chrom, region.start - 1, region.end + longest_indel + 1)
        self.codes = self._codes[1 : 1 + region.end - region.start]
        known = int(np.count_nonzero(self.codes))
        if not known:
            raise MetaError(f"no known base (all N), {self.where}; name another region", NOTHING_TO_SCORE)
        if known < len(self.codes):
            log.info("%s: %s unknown bases (N) left out", self.where, f"{len(self.codes) - known:,}")
        self.total = 3 * known
        if longest_indel:
            self.total += sum(1 for at in range(len(self.codes)) for _ in self._indels(at))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __iter__(self) -> Iterator[Record]:
        number = 0
        for at in range(self.region.end - self.region.start):
            for pos, ref, alt in (*self._indels(at), *self._snvs(at)):
                number += 1
                fields = (self.region.chrom, pos, ".", ref, alt, ".", ".", ".")
                yield Record(number, [str(f).encode() for f in fields], self.region.chrom, pos, ref, [alt])

    def _snvs(self, at: int) -> Iterator[tuple[int, str, str]]:
        """(POS, REF, ALT) at the region's base number `at`."""
        if self._codes[at + 1]:
            ref = decode(self._codes[at + 1 : at + 2])
            yield from ((self.region.start + at + 1, ref, alt) for alt in _LETTERS if alt != ref)

    def _indels(self, at: int) -> Iterator[tuple[int, str, str]]:
        """(POS, REF, ALT) of those whose first changed base is number `at` and that cannot move left."""
        if not self.longest:
            return
        here, first = at + 1, self.region.start + at == 0
        before = self._codes[here - 1]
        # at the start of a contig VCF writes the base behind in place of the base before
        anchor, pos = (0, 1) if first else (1, self.region.start + at)
        for size in range(1, self.longest + 1):
            piece = self._codes[here - anchor : here + size + (not anchor)]
            if not piece.all() or (not first and self._codes[here + size - 1] == before):
                continue
            yield pos, decode(piece), decode(piece[:1] if anchor else piece[-1:])
        kept = self._codes[here - anchor : here - anchor + 1]
        if kept.all():
            for code in range(1, 5):
                if first or code != before:
                    new = decode(np.array([code], np.uint8))
                    yield pos, decode(kept), decode(kept) + new if anchor else new + decode(kept)
