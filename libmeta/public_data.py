"""Public whole-genome data: the list of sources, what their publishers say of each file now, and an ms.toml of what came.

The list is libmeta/public_data.toml; ENCODE files are found by accession, since their addresses change.
"""

import base64
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from libmeta import downloads
from libmeta.downloads import PAUSES, Remote
from libmeta.errors import USAGE, MetaError
from libmeta.streams import atomic

LIST = Path(__file__).with_name("public_data.toml")
BUILD = "GRCh38"
_JSON = {"Accept": "application/json"}
_KEYS = {"group", "path", "url", "accession", "search", "md5s", "md5_header", "replicates", "key", "licence"}
TIERS = (("MANE", "MANE_Select"), ("basic", "basic"), ("comprehensive", None))


@dataclass(frozen=True)
class Source:
    """One entry of the list, see there."""

    group: str
    path: str
    licence: str
    url: str | None = None
    accession: str | None = None
    search: str | None = None
    md5s: str | None = None
    md5_header: bool = False
    replicates: tuple[int, ...] = ()
    key: str | None = None

    @property
    def where(self) -> str:
        return self.url or self.accession or self.search


@dataclass(frozen=True)
class Found:
    """A file as its publisher describes it now. path: under the folder. about: what is kept of it beside it."""

    source: Source
    path: str
    remote: Remote
    about: dict = field(default_factory=dict)


def read(path: str | Path = LIST) -> tuple[str, list[Source]]:
    """(address of ENCODE, sources) of a list. Raises MetaError for what is not one."""
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MetaError(f"no such list of sources, {path}; check the path", USAGE) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MetaError(f"not TOML ({error}), {path}; mend that line", USAGE) from error
    found = []
    for i, entry in enumerate(values.get("source", []), 1):
        where = f"source {i} ({entry.get('path', '?')}) in {path}"
        if unknown := sorted(set(entry) - _KEYS):
            raise MetaError(f"unknown key {unknown[0]}, {where}; known: {', '.join(sorted(_KEYS))}", USAGE)
        if lacking := [k for k in ("group", "path", "licence") if k not in entry]:
            raise MetaError(f"no {lacking[0]}, {where}; add it", USAGE)
        if sum(k in entry for k in ("url", "accession", "search")) != 1:
            raise MetaError(f"neither url, accession nor search, or several of them, {where}; give one", USAGE)
        if Path(entry["path"]).is_absolute() or ".." in Path(entry["path"]).parts:
            raise MetaError(f"the path leads out of the folder, {where}; give one inside it", USAGE)
        found.append(Source(**{**entry, "replicates": tuple(entry.get("replicates", ()))}))
    if not found:
        raise MetaError(f"no source, {path}; give a list with some", USAGE)
    return values.get("encode", "https://www.encodeproject.org"), found


def choose(sources: list[Source], groups: list[str]) -> list[Source]:
    """Those of the groups named; all where none is."""
    known = dict.fromkeys(s.group for s in sources)
    if unknown := [g for g in groups if g not in known]:
        raise MetaError(f"unknown group {unknown[0]!r}, command line; known: {', '.join(known)}", USAGE)
    return [s for s in sources if not groups or s.group in groups]


# ---- what the publisher says ----------------------------------------------------------------------------------------


def look_up(source: Source, encode: str, lists: dict[str, str], pauses=PAUSES) -> list[Found]:
    """The files of a source with address, size and checksum. lists: texts of checksum lists read so far.

    Raises MetaError for what the publisher does not have (any more), has of another build, or gives no checksum of
    although the list of sources says so.
    """
    if source.accession:
        record = _json(urljoin(encode, f"/files/{source.accession}/?format=json"), pauses)
        return [_of_record(source, record, encode)]
    if source.search:
        records = _json(urljoin(encode, source.search), pauses).get("@graph", [])
        wanted = [
            r for r in records if not source.replicates or r.get("biological_replicates") == list(source.replicates)
        ]
        if not wanted:
            raise MetaError(f"nothing found, {urljoin(encode, source.search)}; mend the search in the list of sources")
        return _once([_of_record(source, r, encode) for r in wanted])
    told = downloads.headers(source.url, pauses)
    size = int(told["content-length"]) if "content-length" in told else None
    return [Found(source, source.path, Remote(source.url, size, _md5(source, told, lists, pauses)), {})]


def _json(url: str, pauses) -> dict:
    text = downloads.text(url, _JSON, pauses)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise MetaError(f"the answer is not JSON, {url}; look at it in a browser") from error
    if not isinstance(found, dict):
        raise MetaError(f"the answer is not a record, {url}; look at it in a browser")
    return found


def _of_record(source: Source, record: dict, encode: str) -> Found:
    """A file from its ENCODE record."""
    name = record.get("accession") or source.accession or "?"
    if lacking := [k for k in ("accession", "href", "md5sum", "file_size") if not record.get(k)]:
        raise MetaError(f"no {lacking[0]} in the ENCODE record of {name}; look at {urljoin(encode, f'/files/{name}/')}")
    if source.accession and record["accession"] != source.accession:
        raise MetaError(f"ENCODE gives {name} for {source.accession}; mend the list of sources")
    if record.get("status") != "released":
        raise MetaError(f"{name} is {record.get('status')} at ENCODE; choose another file in the list of sources")
    if record.get("assembly") != BUILD:
        raise MetaError(
            f"{name} is of {record.get('assembly')}, not {BUILD}; choose another file in the list of sources"
        )
    fields = {"accession": name}
    if "{target}" in f"{source.path}{source.key}":
        fields["target"] = _plain((record.get("target") or {}).get("label"), name)
        fields["cell"] = _plain((record.get("biosample_ontology") or {}).get("term_name"), name)
    remote = Remote(urljoin(encode, record["href"]), int(record["file_size"]), record["md5sum"])
    key = source.key and source.key.format(**fields)
    return Found(source, source.path.format(**fields), remote, {"accession": name, "key": key})


def _plain(text: str | None, name: str) -> str:
    """As part of PROTEIN_CELL: letters, digits and -."""
    if not text:
        raise MetaError(f"no target or cell in the ENCODE record of {name}; choose another file in the list of sources")
    return re.sub(r"[^A-Za-z0-9-]+", "-", text)


def _once(found: list[Found]) -> list[Found]:
    """One file per key: of several experiments with one protein and cell line the first accession."""
    kept: dict[str, Found] = {}
    for one in sorted(found, key=lambda f: f.about["accession"]):
        kept.setdefault(one.about["key"] or one.path, one)
    return list(kept.values())


def _md5(source: Source, told: dict, lists: dict[str, str], pauses) -> str | None:
    if source.md5_header:
        match = re.search(r"md5=([A-Za-z0-9+/]+=*)", told.get("x-goog-hash", ""))
        if not match:
            raise MetaError(f"the server sends no md5, {source.url}; take md5_header out of the list of sources")
        return base64.b64decode(match[1]).hex()
    if not source.md5s:
        return None
    if source.md5s not in lists:
        lists[source.md5s] = downloads.text(source.md5s, pauses=pauses)
    name = urlsplit(source.url).path.rsplit("/", 1)[1]
    for line in lists[source.md5s].splitlines():
        match = re.match(r"([0-9a-fA-F]{32})[ \t]+\*?(?:\./)?(\S+)\s*$", line)
        if match and match[2] == name:
            return match[1].lower()
    raise MetaError(f"no checksum of {name}, {source.md5s}; mend md5s in the list of sources")


# ---- what came ------------------------------------------------------------------------------------------------------


def note(found: Found, folder: Path) -> None:
    """Keep beside a file where it is from: FILE.source.json."""
    about = {
        "url": found.remote.url,
        "bytes": (folder / found.path).stat().st_size,
        "md5": found.remote.md5,
        "licence": found.source.licence,
        "key": found.source.key,
        **found.about,
    }
    with atomic(f"{folder / found.path}.source.json") as path:
        path.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def toml(folder: Path) -> str:
    """ms.toml of what is in a folder: genome, annotation, base scores where there are some, and every file with a key."""
    tables: dict[str, dict] = {}
    for beside in sorted(folder.rglob("*.source.json")):
        about = json.loads(beside.read_text(encoding="utf-8"))
        path = beside.with_name(beside.name.removesuffix(".source.json"))
        if about.get("key") and path.exists():
            _, modality, *keys = about["key"].split(".")
            at = tables.setdefault(modality, {})
            for key in keys[:-1]:
                at = at.setdefault(key, {})
            at[keys[-1]] = path.relative_to(folder).as_posix()
    lines = ["# Made by python -m libmeta.fetch: the public data in this folder, GRCh38.", "[genome]"]
    lines += ['fasta = "hg38.fa"']
    gtf = next((p.name for p in sorted(folder.glob("gencode.*.gtf.gz"))), None)
    if gtf:
        tiers = (f'{{name = "{n}", gtf = "{gtf}"' + (f', tag = "{t}"}}' if t else "}") for n, t in TIERS)
        lines += ["[annotation]", f"tiers = [{', '.join(tiers)}]"]
    if (folder / "spliceai.json").exists():
        lines += ["[base_scores.spliceai]", 'prefix = "spliceai"']
    junctions = {p.name.removesuffix(".junctions.tsv.gz"): f"gtex/{p.name}" for p in _gtex(folder)}
    if junctions:
        tables["junction"] = {"files": junctions}
    for modality, table in sorted(tables.items()):
        lines.append(f"[modalities.{modality}]")
        lines += [f"{key} = {_value(value)}" for key, value in sorted(table.items())]
    return "\n".join(lines) + "\n"


def _gtex(folder: Path) -> list[Path]:
    return sorted((folder / "gtex").glob("*.junctions.tsv.gz"))


def _value(value) -> str:
    """TOML of a file name, or of a table of them."""
    if isinstance(value, str):
        return json.dumps(value)
    return "{" + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in sorted(value.items())) + "}"
