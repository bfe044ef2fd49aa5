"""Base models: published networks that score sequence alone. One file each; to add one, add a file.

A base model's file has

    NAME        what the command line calls it
    LICENCE     of its weights, one line
    TRAINED_ON  contigs whose sequence it was trained on, without `chr`
    find(weights)  where its weights files are: the given folder or files, else the usual places
    read(paths)    the files as canonical networks (libmeta.resnet), classes donor, acceptor, neither
    digest(paths)  sha256 over the files in order, the identity of the ensemble

Readers check everything once and say in one line which file is wrong; what comes back can be trusted.
"""

import hashlib
import importlib
import os
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from libmeta.errors import MetaError
from libmeta.resnet import ResNetWeights

REMEDY = "run `make weights` or give --weights FOLDER"


def names() -> list[str]:
    """Names of the base models there are, sorted."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def get(name: str) -> ModuleType:
    """The base model's module. MetaError, listing the known ones, if there is no such model."""
    if name not in names():
        raise MetaError(f"unknown base model {name}; the known ones are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def digest(paths: Iterable[Path]) -> str:
    """sha256 (hex) over the contents of the files in order; names and folders do not matter."""
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def given_files(weights: str | Path | Iterable[str | Path], suffix: str) -> list[Path]:
    """The weights files a user names: a folder (its files, or those of its only subfolder that has any), a
    file, or files.

    Sorted by name with numbers by value within a folder, in the given order in a list. MetaError if there are
    none.
    """
    if not isinstance(weights, str | os.PathLike):
        paths = [Path(path) for path in weights]
        if not paths:
            raise MetaError(f"an empty list of {suffix} weights; {REMEDY}")
    elif Path(weights).is_dir():
        return _members(Path(weights), suffix)
    else:
        paths = [Path(weights)]
    for path in paths:
        if not path.is_file():
            raise MetaError(f"no weights at {path}; {REMEDY}")
    return paths


def usual_folder(variable: str, folder: str) -> str | None:
    """The folder that the environment variable names, else ./weights/`folder` if there is one, else None."""
    if os.environ.get(variable):
        return os.environ[variable]
    return folder if Path(folder).is_dir() else None


def same_context(nets: list[ResNetWeights], paths: list[Path]) -> list[ResNetWeights]:
    """Return nets if all have one context; MetaError, naming the first file that differs, if not."""
    for net, path in zip(nets, paths, strict=True):
        if net.context != nets[0].context:
            raise MetaError(
                f"context of {2 * net.context} bases in {path} but {2 * nets[0].context} in {paths[0]}; "
                "give the files of one ensemble"
            )
    return nets


def _members(folder: Path, suffix: str) -> list[Path]:
    here = sorted(folder.glob(f"*{suffix}"), key=_natural)
    if here:
        return here
    below = [sub for sub in sorted(folder.iterdir(), key=_natural) if sub.is_dir() and any(sub.glob(f"*{suffix}"))]
    if not below:
        raise MetaError(f"no {suffix} weights in {folder}; {REMEDY}")
    if len(below) > 1:
        listed = ", ".join(sub.name for sub in below)
        raise MetaError(f"several sets of {suffix} weights below {folder} ({listed}); give --weights with one of them")
    return sorted(below[0].glob(f"*{suffix}"), key=_natural)


def _natural(path: Path) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
