"""The README's table of recipes and modalities is what training does with a stream, or shards, that hold everything."""

import subprocess
import sys

import pyarrow as pa
import pytest
from conftest import ROOT
from toy_shards import planted

from libmeta import modalities, recipes, schema, sequence_training, train
from libmeta.errors import MetaError
from libmeta.recipes import __main__ as page


def cells(name):
    """{modality: cell} of a recipe's row in the README."""
    table = page.BEGIN, (ROOT / "README.md").read_text().split(page.BEGIN)[1].split(page.END)[0]
    rows = [[c.strip(" `") for c in line.strip("|\n").split("|")] for line in table[1].strip().splitlines()]
    return next(dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows if row[0] == name)


def kept(recipe, evidence):
    """Names that training takes where everything but the target's modality is there."""
    names = [n for n in modalities.names() if n != evidence]
    if isinstance(recipe, recipes.PositionRecipe):
        form = pa.schema([c.field for n in names for c in modalities.columns(n)])
        return train.choose_columns(form, recipe), [f.name for f in form if schema.role(f) == "feature"]
    shards = planted(1, sizes=(("train", 1),), length=50)
    shards.channels = [{"name": c.name, "modality": n, "log1p": False} for n in names for c in modalities.channels(n)]
    every = [c["name"] for c in shards.channels]
    shards.manifest["recipe"] = recipe.labels
    shards.take = lambda base, channels: setattr(shards, "channels", channels)
    sequence_training.choose(shards, recipe, None, ())
    return shards.channels, every


@pytest.mark.parametrize("name", recipes.names())
def test_the_table_is_what_training_takes(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    taken, every = kept(recipe, recipe.evidence)
    for modality, cell in cells(name).items():
        if modality == recipe.evidence:
            assert cell == "target"
            continue
        if isinstance(recipe, recipes.SequenceRecipe) and modality in ("base_scores", "sequence"):
            assert cell == "yes"  # sequence and base scores are arrays of the shards, not channels
            continue
        mine, there = ([n for n in names if n.startswith(f"{modality}.")] for names in (taken, every))
        wanted = "-" if not mine else "yes" if mine == there else f"{len(mine)} of {len(there)}"
        assert cell == wanted, modality


def test_every_modality_has_a_column():
    assert set(cells("m1-p")) == set(modalities.names()) - {"annotation"}


def test_command(tmp_path):
    command = [sys.executable, "-m", "libmeta.recipes"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == page.table()
    page_file = tmp_path / "R.md"
    page_file.write_text(f"a\n{page.BEGIN}\nold\n{page.END}\nb\n")
    subprocess.run([*command, page_file], check=True)
    assert page_file.read_text() == f"a\n{page.BEGIN}\n\n{page.table()}\n{page.END}\nb\n"
    assert page.refreshed(page_file.read_text(), "R.md") == page_file.read_text()
    page_file.write_text("no marks\n")
    done = subprocess.run([*command, page_file], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    with pytest.raises(MetaError, match="no <!-- made by: make docs -->"):
        page.refreshed("", "R.md")


def test_readme_holds_the_table_as_it_is_made():
    text = (ROOT / "README.md").read_text()
    assert page.refreshed(text, "README.md") == text
