"""`python -m libmeta.recipes`: which recipe takes which modality, as the table of the README; with a FILE, put it there."""

import sys
from pathlib import Path

from libmeta import modalities, recipes
from libmeta.errors import USAGE, MetaError
from libmeta.streams import atomic

BEGIN, END = "<!-- made by: make docs -->", "<!-- end -->"
_ALWAYS = ("base_scores", "sequence")  # of a sequence model, beside its channels


def taken(recipe, modality: str) -> tuple[int, int]:
    """How many of a modality's features or channels a recipe takes, and how many there are."""
    if isinstance(recipe, recipes.PositionRecipe):
        names = [c.name for c in modalities.columns(modality) if c.role == "feature"]
    elif modality in _ALWAYS:
        return 1, 1
    else:
        names = [c.name for c in modalities.channels(modality)]
    if modality not in recipe.uses or modality == recipe.evidence:
        return 0, len(names)
    return sum(n not in recipe.leaves_out for n in names), len(names)


def cell(recipe, modality: str) -> str:
    """What the table says of a recipe and a modality."""
    if modality == recipe.evidence:
        return "target"
    some, every = taken(recipe, modality)
    return "-" if not some else "yes" if some == every else f"{some} of {every}"


def table() -> str:
    """Markdown: a row per recipe, a column per modality."""
    names = [n for n in modalities.names() if n != "annotation"]
    rows = [["recipe", *names], ["---"] * (len(names) + 1)]
    rows += [[f"`{r.name}`", *(cell(r, n) for n in names)] for r in map(recipes.get, recipes.names())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def refreshed(text: str, where: str) -> str:
    """The text with the table between its marks."""
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise MetaError(f"no {BEGIN} ... {END}, {where}; add both marks", USAGE)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.stdout.write(table())
    for name in arguments:
        text = refreshed(Path(name).read_text(encoding="utf-8"), name)
        with atomic(name) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MetaError as error:
        sys.stderr.write(f"recipes: error: {error}\n")
        raise SystemExit(error.code) from None
