"""Names of tissues as people type them: "Brain - Cortex" is brain_cortex on the command line and in file names."""

import difflib
import re

from libmeta.errors import USAGE, MetaError

ALL = "all"


def short(name: str) -> str:
    """Lower case, everything but letters and digits as single underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def check(names: list[str], where: str) -> None:
    """MetaError for two tissues of one short name, and for a name without letter or digit or that is "all"."""
    seen: dict[str, str] = {}
    for name in names:
        key = short(name)
        if not key or key == ALL:
            raise MetaError(f"tissue {name!r} has no usable name, {where}; rename it")
        if key in seen:
            raise MetaError(f"tissues {seen[key]!r} and {name!r} are both {key}, {where}; rename one")
        seen[key] = name


def choose(asked: tuple[str, ...], names: list[str], where: str) -> list[int]:
    """Indices into names of what --tissue asks for, each once, in the order asked.

    asked: names or short names, several joined by commas, or "all". Raises MetaError (usage) for none, with the list, and
    for an unknown one, with the nearest names.
    """
    listed = ", ".join(short(n) for n in names)
    index = {short(n): i for i, n in enumerate(names)}
    chosen: list[int] = []
    for item in asked:
        # a name may hold a comma itself
        for one in [item] if short(item) in index else item.split(","):
            key = short(one)
            if key == ALL:
                chosen += range(len(names))
            elif key in index:
                chosen.append(index[key])
            else:
                raise MetaError(f"unknown tissue {one.strip()!r}, --tissue; {_nearest(key, listed, index)}", USAGE)
    if not chosen:
        raise MetaError(f"{where} speaks of one tissue at a time, --tissue; name some of {listed}, or all", USAGE)
    return list(dict.fromkeys(chosen))


def _nearest(key: str, listed: str, index: dict[str, int]) -> str:
    near = [k for k in index if key and (key in k or k in key)]
    near += difflib.get_close_matches(key, index, n=3, cutoff=0.6)
    found = ", ".join(list(dict.fromkeys(near))[:5])
    return f"did you mean {found}?" if found else f"known: {listed}"
