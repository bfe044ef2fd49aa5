"""What ms-labels was asked for -> tiers, evidence files, regions and labels."""

from dataclasses import dataclass, replace
from pathlib import Path

from libmeta import labels
from libmeta.config import Config
from libmeta.contigs import Contigs
from libmeta.errors import NOTHING_TO_SCORE, USAGE, MetaError
from libmeta.regions import Region, parse_region, read_bed
from libmeta.sites import Sites


@dataclass(frozen=True)
class Sources:
    """tiers: dicts with name, gtf, tag, in order. junctions: (tissue or None, path) pairs. psi: a file or None."""

    tiers: list[dict]
    junctions: list[tuple[str | None, str]]
    psi: str | Path | None

    def inputs(self, genome: str, bed: str | None) -> dict[str, str | Path]:
        """Every file read, by what it is, for provenance."""
        named = {"genome": genome}
        named |= {f"tier {i} {t['name']}": t["gtf"] for i, t in enumerate(self.tiers)}
        named |= {f"junctions {i}" + (f" {t}" if t else ""): p for i, (t, p) in enumerate(self.junctions)}
        named |= {"psi": self.psi} if self.psi else {}
        named |= {"bed": bed} if bed else {}
        return {name: path for name, path in named.items() if str(path) != "-"}


def gather(
    config: Config,
    annotations: tuple[str, ...],
    tiers: tuple[str, ...],
    junctions: tuple[str, ...],
    psi: str | None,
    recipe: str | None,
) -> Sources:
    """Options first; what they leave open comes from ms.toml. Raises MetaError (usage) for what cannot work."""
    if annotations and tiers:
        raise MetaError("annotation files both as arguments and with --tier, command line; use one of the two", USAGE)
    named = [tier(t) for t in tiers] or [{"name": _short(a), "gtf": Path(a), "tag": None} for a in annotations]
    named = named or config.annotation_tiers
    if not named:
        raise MetaError("no annotation, neither as arguments, --tier nor in ms.toml; name a GTF or GFF3", USAGE)
    evidence = config.modality("junction")
    files = [junction(j) for j in junctions] or list(evidence.get("files", {}).items())
    table = psi or evidence.get("psi")
    if recipe == "m3" and not files and not table:
        raise MetaError("recipe m3 needs junction evidence, command line; give --junctions or --psi", USAGE)
    return Sources(named, files, table)


def tier(text: str) -> dict:
    """NAME=FILE[:TAG]."""
    name, equals, rest = text.partition("=")
    if not (name and equals and rest):
        raise MetaError(f"not NAME=FILE[:TAG], --tier {text}; write --tier MANE=gencode.gtf:MANE_Select", USAGE)
    file, colon, tag = rest.rpartition(":")
    if not colon or not tag or Path(rest).exists() or "/" in tag:
        file, tag = rest, None
    return {"name": name, "gtf": Path(file), "tag": tag}


def junction(text: str) -> tuple[str | None, str]:
    """[TISSUE=]FILE."""
    tissue, equals, file = text.partition("=")
    return (tissue, file) if equals and tissue and not Path(text).exists() else (None, text)


def _short(path: str) -> str:
    return Path(path).name.split(".")[0] or path


def reference(text: str | None, recipe: str | None, tiers: list[dict]) -> tuple[int, ...]:
    """Tier numbers of --reference; all tiers of the annotation where it was not given."""
    if text is None:
        return tuple(range(len(tiers)))
    if recipe != "m3":
        raise MetaError("--reference is for recipe m3, command line; add --recipe m3 or leave it out", USAGE)
    names = [t["name"] for t in tiers]
    out = []
    for item in text.split(","):
        if item in names:
            out.append(names.index(item))
        elif item.isdigit() and int(item) < len(tiers):
            out.append(int(item))
        else:
            raise MetaError(f"no tier {item!r}, --reference; the tiers are {', '.join(names)}", USAGE)
    return tuple(sorted(set(out)))


def rule(given: dict, recipe, labelled_for: str | None, tiers: list[str], settings: dict) -> dict:
    """Settings of the label rule: those given; with none, the labels that the sites carry, where they are this recipe's.

    given: reference (text), min_support, min_psi, None where not said. labelled_for, tiers, settings: the recipe that the
    sites were labelled for, the names of their tiers, and the settings of their rule. Kept labels have "given".
    """
    given = {k: v for k, v in given.items() if v is not None}
    if given and recipe.labels != "m3":
        raise MetaError(
            f"--{next(iter(given)).replace('_', '-')} is for labels of m3, recipe {recipe.name}; leave it out", USAGE
        )
    if not given and labelled_for == recipe.labels:
        return {"given": True, **settings}
    if "reference" in given:
        given["reference"] = reference(
            given["reference"], recipe.labels, [{"name": n} for n in tiers or ("0", "1", "2")]
        )
    return given


def regions(texts: tuple[str, ...], bed: str | None, contigs: Contigs) -> list[Region] | None:
    """Regions of --region and --bed together; None where there is neither."""
    found = [parse_region(t, contigs) for t in texts] + (read_bed(bed, contigs) if bed else [])
    return found or None


def label(sites: Sites, recipe: str | None, known: tuple[int, ...], min_support: int, min_psi: float) -> Sites:
    """Fill label and weight; for m3 keep only measured genes. Raises NOTHING_TO_SCORE where nothing is left."""
    if recipe == "m3":
        sites = sites.labelled(*labels.m3(sites.facts(), known, min_support, min_psi))
        sites = replace(sites, genes=[g for g in sites.genes if g.measured])
        if not sites.genes:
            raise MetaError(
                "no gene here is covered by junction evidence; give evidence of these genes", NOTHING_TO_SCORE
            )
    elif recipe:
        sites = sites.labelled(*labels.RULES[recipe](sites.facts()))
    if not sites.genes and not sites.table.num_rows:
        raise MetaError(
            "no gene and no site in the regions; check --region, --bed and the annotation", NOTHING_TO_SCORE
        )
    return sites
