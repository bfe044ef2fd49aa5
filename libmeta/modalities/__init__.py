"""Modalities: one file each, found by being here.

A module has NAME, DOC, KEYS (of its section in ms.toml), COLUMNS (names without the "NAME." prefix) and
`open_source(sources) -> reader`; a reader has `columns`, `read(window, positions) -> {column: array}` for ascending
positions of one contig and strand, and `inputs`, the files it reads. `open_source` raises Absent where ms.toml names no
source.

A modality that sequence models can take has CHANNELS as well (names without the prefix). Its reader then has `channels`,
those of CHANNELS that it has a source for, and `dense(window) -> {channel: float32 (window.end - window.start,)}`: one
value per base on window.strand, in GENOME orientation, raw (no log1p, no scaling), NaN where nothing is known; the window
may reach beyond the contig, and is NaN there. A value belongs to its base: it does not depend on where a window is cut.
"""

import pkgutil
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module

from libmeta.errors import USAGE, MetaError
from libmeta.schema import Column


class Absent(MetaError):
    """The user has named no source for a modality."""


@dataclass(frozen=True)
class Channel:
    """One value per base for sequence models: its unit, what NaN means, and whether log1p comes before scaling."""

    name: str
    doc: str
    unit: str = ""
    log1p: bool = False
    missing: str = ""


@cache
def names() -> tuple[str, ...]:
    """All modalities, base scores first."""
    found = sorted(m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(found, key=lambda n: (n != "base_scores", n)))


def get(name: str, where: str = "--modalities"):
    """The module of a modality."""
    if name not in names():
        raise MetaError(f"unknown modality {name!r}, {where}; known: {', '.join(names())}", USAGE)
    return import_module(f"libmeta.modalities.{name}")


def columns(name: str) -> tuple[Column, ...]:
    """A modality's columns under their full names."""
    return tuple(replace(c, name=f"{name}.{c.name}", modality=name) for c in get(name).COLUMNS)


def channels(name: str) -> tuple[Channel, ...]:
    """All channels that a modality can have, under their full names `modality.channel`."""
    return tuple(replace(c, name=f"{name}.{c.name}") for c in getattr(get(name), "CHANNELS", ()))


def parse(text: str) -> tuple[list[str], bool]:
    """--modalities: "a,b", "all" or "all-but-x[,y]" -> (names in canonical order, whether each must have a source).

    "all" means all whose source ms.toml names; a modality that is named outright must have one.
    """
    if text == "all":
        return list(names()), False
    if text.startswith("all-but-"):
        out = {get(n).NAME for n in text.removeprefix("all-but-").split(",")}
        return [n for n in names() if n not in out], False
    wanted = {get(n.strip()).NAME for n in text.split(",")}
    return [n for n in names() if n in wanted], True
