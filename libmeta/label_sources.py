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
    if recipe in ("m3", "m2e") and not files and not table:
        raise MetaError(f"recipe {recipe} needs junction evidence, command line; give --junctions or --psi", USAGE)
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


def reference(text: str | None, tiers: list[str]) -> tuple[int, ...]:
    """Tier numbers of --reference; all tiers of the annotation where it was not given."""
    return tuple(range(len(tiers))) if text is None else numbers(text, tiers, "--reference")


def numbers(text: str, tiers: list[str], option: str) -> tuple[int, ...]:
    """Tier numbers of names or numbers joined by commas."""
    return tuple(sorted({number(item, tiers, option) for item in text.split(",")}))


def number(item: str, tiers: list[str], option: str) -> int:
    """The number of a tier by its name or number. Raises MetaError (usage) for one that is not there."""
    if item in tiers:
        return tiers.index(item)
    if item.isdecimal() and int(item) < len(tiers):
        return int(item)
    raise MetaError(f"no tier {item!r}, {option}; the tiers are {', '.join(tiers)}", USAGE)


def tier_weights(text: str, tiers: list[str]) -> tuple[float, ...]:
    """Weights of --tier-weights: one for each tier in order (1,0.85,0.65), or by name (MANE=1,basic=0.5): then a tier that
    is not named keeps its own. Raises MetaError (usage) for a weight that is negative or no number, and unknown names.
    """
    items = text.split(",")
    weights = dict(enumerate(labels.TIER_WEIGHTS))
    if named := "=" in text:
        pairs = [item.partition("=") for item in items]
        found = {number(name, tiers, "--tier-weights"): value for name, _, value in pairs}
    else:
        found = dict(enumerate(items))
    if not named and len(found) != len(tiers):
        raise MetaError(f"{len(found)} weights for {len(tiers)} tiers, --tier-weights {text}; give one for each", USAGE)
    weights |= {tier: weight(value, f"--tier-weights {text}") for tier, value in found.items()}
    return tuple(weights[i] for i in sorted(weights))


def weight(text: str, where: str) -> float:
    """A finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise MetaError(f"weight {text!r} is not a number from 0 on, {where}; mend it", USAGE)
    return value


def settings(given: dict, labels_of: str | None, tiers: list[str]) -> dict:
    """Settings of a label rule from options as they were typed (None: not given), parsed. tiers: their names.

    Raises MetaError (usage) for an option that is not of this rule.
    """
    given = {name: value for name, value in given.items() if value is not None}
    known = labels.OPTIONS.get(labels_of, ())
    if strange := [name for name in given if name not in known]:
        whose = " and ".join(r for r, names in labels.OPTIONS.items() if strange[0] in names)
        raise MetaError(
            f"--{strange[0].replace('_', '-')} is for labels of {whose}, not of {labels_of}; leave it out", USAGE
        )
    for name in given.keys() & {"reference", "minus"}:
        given[name] = numbers(given[name], tiers, f"--{name}")
    if "tier_weights" in given:
        given["tier_weights"] = tier_weights(given["tier_weights"], tiers)
    return given


def rule(given: dict, recipe, labelled_for: str | None, tiers: list[str], told: dict) -> dict:
    """Settings of the label rule: those given; with none, the labels that the sites carry, where they are this recipe's.

    given: options of the rule as typed, None where not said. labelled_for, tiers, told: the recipe that the sites were
    labelled for, the names of their tiers, and the settings of their rule. Kept labels have "given". Raises MetaError
    where hidden sites would come to light again.
    """
    parsed = settings(given, recipe.labels, tiers or ["0", "1", "2"])
    if not parsed and labelled_for == recipe.labels:
        return {"given": True, **told}
    if "hide" in told:
        raise MetaError(
            f"sites are hidden for {labelled_for}, and the labels of {recipe.labels} would show them; label anew with "
            f"ms-labels --recipe {recipe.labels} --hide",
            USAGE,
        )
    return parsed


def regions(texts: tuple[str, ...], bed: str | None, contigs: Contigs) -> list[Region] | None:
    """Regions of --region and --bed together; None where there is neither."""
    found = [parse_region(t, contigs) for t in texts] + (read_bed(bed, contigs) if bed else [])
    return found or None


def label(sites: Sites, recipe: str | None, rule: dict) -> Sites:
    """Fill label and weight. m3 keeps measured genes only, m2a and m2b the genes with a positive site. rule: settings().

    Raises NOTHING_TO_SCORE where nothing is left.
    """
    if recipe:
        sites = sites.labelled(*labels.RULES[recipe](sites.facts(), **rule))
    if recipe == "m3":
        sites = replace(sites, genes=[g for g in sites.genes if g.measured])
        if not sites.genes:
            raise MetaError(
                "no gene here is covered by junction evidence; give evidence of these genes", NOTHING_TO_SCORE
            )
    if recipe in labels.EVALUATION:
        genes = sites.positive_genes()
        sites = replace(sites, genes=[g for g in sites.genes if g.gene in genes])
        if not sites.genes:
            raise MetaError(
                f"no site is positive under {recipe}; check --minus and the tiers of the annotation", NOTHING_TO_SCORE
            )
    if not sites.genes and not sites.table.num_rows:
        raise MetaError(
            "no gene and no site in the regions; check --region, --bed and the annotation", NOTHING_TO_SCORE
        )
    return sites
