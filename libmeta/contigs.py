"""Contig names, their aliases (with and without chr, M/MT, RefSeq NC_) and what their lengths say of the build."""

import logging
import re
from collections.abc import Iterable, Mapping

from libmeta.errors import MetaError

log = logging.getLogger("libmeta")

# lengths of the chromosomes that tell the human builds apart
BUILDS = {
    "GRCh37": {
        "1": 249250621, "2": 243199373, "3": 198022430, "4": 191154276, "5": 180915260, "6": 171115067,
        "7": 159138663, "8": 146364022, "9": 141213431, "10": 135534747, "11": 135006516, "12": 133851895,
        "13": 115169878, "14": 107349540, "15": 102531392, "16": 90354753, "17": 81195210, "18": 78077248,
        "19": 59128983, "20": 63025520, "21": 48129895, "22": 51304566, "X": 155270560, "Y": 59373566,
    },
    "GRCh38": {
        "1": 248956422, "2": 242193529, "3": 198295559, "4": 190214555, "5": 181538259, "6": 170805979,
        "7": 159345973, "8": 145138636, "9": 138394717, "10": 133797422, "11": 135086622, "12": 133275309,
        "13": 114364328, "14": 107043718, "15": 101991189, "16": 90338345, "17": 83257441, "18": 80373285,
        "19": 58617616, "20": 64444167, "21": 46709983, "22": 50818468, "X": 156040895, "Y": 57227415,
    },
    "T2T-CHM13": {
        "1": 248387328, "2": 242696752, "3": 201105948, "4": 193574945, "5": 182045439, "6": 172126628,
        "7": 160567428, "8": 146259331, "9": 150617247, "10": 134758134, "11": 135127769, "12": 133324548,
        "13": 113566686, "14": 101161492, "15": 99753195, "16": 96330374, "17": 84276897, "18": 80542538,
        "19": 61707364, "20": 66210255, "21": 45090682, "22": 51324926, "X": 154259566, "Y": 62460029,
    },
}  # fmt: skip
_REFSEQ = re.compile(r"^NC_0000(\d\d)\.\d+$")
_REFSEQ_MITOCHONDRION = re.compile(r"^NC_012920\.\d+$")


def plain_name(name: str) -> str:
    """The bare name that aliases share: chr15, 15, CHR15, NC_000015.10 -> 15; chrM, MT, NC_012920.1 -> M."""
    if match := _REFSEQ.match(name):
        number = int(match[1])
        return {23: "X", 24: "Y"}.get(number, str(number))
    if _REFSEQ_MITOCHONDRION.match(name):
        return "M"
    bare = name[3:] if name[:3].lower() == "chr" else name
    return "M" if bare.upper() in ("M", "MT") else bare


def guess_build(lengths: Mapping[str, int]) -> str | None:
    """The human build that most of these contig lengths (any alias) fit, or None."""
    hits = {
        build: sum(known.get(plain_name(n)) == length for n, length in lengths.items())
        for build, known in BUILDS.items()
    }
    best = max(hits, key=hits.get)
    return best if hits[best] else None


class Contigs:
    """The contigs of a genome in the order of its index: the names and lengths (bp) that everything else is matched to."""

    def __init__(self, lengths: Mapping[str, int], source: str):
        self.lengths = dict(lengths)
        self.source = source
        self.order = {name: i for i, name in enumerate(self.lengths)}
        self.build = guess_build(self.lengths)
        self._by_plain: dict[str, str] = {}
        for name in self.lengths:
            self._by_plain.setdefault(plain_name(name), name)
        self._told: set[str] = set()

    def resolve(self, name: str) -> str | None:
        """This genome's name for a contig under any alias, or None."""
        return name if name in self.lengths else self._by_plain.get(plain_name(name))

    def require(self, name: str, where: str) -> str:
        """As resolve, but an unknown contig is an error that says where it stood."""
        found = self.resolve(name)
        if found is None:
            some = ", ".join(list(self.lengths)[:3])
            raise MetaError(f"contig {name!r} is not in the genome, {where}; {self.source} has {some}, ...")
        return found

    def match(self, names: Mapping[str, int | None] | Iterable[str], where: str) -> dict[str, str]:
        """Map the contigs of another input to ours: {its name: our name}, for those that both have.

        names: its names, or names -> lengths in bp (None unknown). Aliases in use are told once. Raises MetaError where
        no contig is shared or a shared one has another length, with the likely builds.
        """
        lengths = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names)
        shared = {n: ours for n in lengths if (ours := self.resolve(n)) is not None}
        if not shared:
            theirs, ours = ", ".join(list(lengths)[:3]), ", ".join(list(self.lengths)[:3])
            raise MetaError(
                f"no contig in common, {where} ({theirs}) and {self.source} ({ours}); likely another genome or build"
            )
        for name, ours in shared.items():
            length = lengths[name]
            if length is not None and length != self.lengths[ours]:
                known = {k: v for k, v in lengths.items() if v is not None}
                raise MetaError(
                    f"contig {name} is {length:,} bp, {where}, and {self.lengths[ours]:,} bp in {self.source}; likely "
                    f"another build ({guess_build(known) or 'unknown'} against {self.build or 'unknown'}): use files "
                    "of one build"
                )
        alias = next(((n, o) for n, o in shared.items() if n != o), None)
        if alias and where not in self._told:
            self._told.add(where)
            log.info("%s: contig names matched by alias (%s is %s)", where, *alias)
        return shared
