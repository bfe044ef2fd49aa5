"""ms.toml: where the user's sources are. Paths in it are relative to its own folder."""

import os
import tomllib
from pathlib import Path

from libmeta.errors import USAGE, MetaError

_SECTIONS = {"genome", "annotation", "base_scores", "modalities", "sampling"}


class Config:
    """The sources of one project. An empty Config (no file) has none; what is asked for and absent is an error."""

    def __init__(self, values: dict | None = None, path: Path | None = None):
        self.values, self.path = values or {}, path
        self.folder = path.parent if path else Path()
        for section in set(self.values) & _SECTIONS:
            if not isinstance(self.values[section], dict):
                raise MetaError(f"not a table, {section} in {self.name}; write [{section}]", USAGE)
        if unknown := set(self.values) - _SECTIONS:
            raise MetaError(
                f"unknown section [{sorted(unknown)[0]}], {self.name}; known: {', '.join(sorted(_SECTIONS))}",
                USAGE,
            )

    @property
    def name(self) -> str:
        return str(self.path) if self.path else "ms.toml"

    def resolve(self, value: str) -> Path:
        """A path of the file, as seen from the working directory."""
        return Path(os.path.normpath(self.folder / Path(value).expanduser()))

    def file(self, value, where: str) -> Path:
        """As resolve, but it must be text and exist; `where` is the key, for the error."""
        if not isinstance(value, str):
            raise MetaError(f"not a file name, {where} in {self.name}; write it in quotes", USAGE)
        path = self.resolve(value)
        if not path.exists():
            raise MetaError(f"no such file {path}, {where} in {self.name}; mend the path or remove the key")
        return path

    def genome(self, given: str | None = None) -> Path:
        """The FASTA: as given on the command line, else [genome] fasta."""
        if given:
            return Path(given)
        fasta = self.values.get("genome", {}).get("fasta")
        if fasta is None:
            raise MetaError("no genome, neither --genome nor [genome] fasta in ms.toml; name one", USAGE)
        return self.file(fasta, "[genome] fasta")

    @property
    def annotation_tiers(self) -> list[dict]:
        """[annotation] tiers in order: dicts with name, gtf (Path) and tag (None: the whole file); [] if there are none."""
        tiers = self.values.get("annotation", {}).get("tiers", [])
        found = []
        for i, tier in enumerate(tiers):
            where = f"[annotation] tiers[{i}]"
            if not isinstance(tier, dict) or "gtf" not in tier:
                raise MetaError(
                    f"a tier needs a gtf, {where} in {self.name}; write {{name=..., gtf=..., tag=...}}", USAGE
                )
            gtf = self.file(tier["gtf"], f"{where} gtf")
            found.append({"name": tier.get("name", tier.get("tag", gtf.name)), "gtf": gtf, "tag": tier.get("tag")})
        return found

    @property
    def base_scores(self) -> dict[str, dict]:
        """[base_scores.NAME] in order, the first is the primary base model: {"prefix": Path} of scores made before, or
        {"model": name, "weights": Path or None, "cache": Path or None} of a model to be run where scores are wanted."""
        found = {}
        for name, entry in self.values.get("base_scores", {}).items():
            where = f"[base_scores.{name}] in {self.name}"
            if not isinstance(entry, dict) or not isinstance(entry.get("prefix", entry.get("model")), str):
                raise MetaError(f'neither prefix nor model, {where}; write prefix = "..." or model = "..."', USAGE)
            if unknown := set(entry) - {"prefix", "model", "weights", "cache"}:
                raise MetaError(
                    f"unknown key {sorted(unknown)[0]}, {where}; known: prefix, or model, weights, cache", USAGE
                )
            if "prefix" in entry:
                found[name] = {"prefix": self.resolve(entry["prefix"])}
                continue
            paths = {k: self.resolve(entry[k]) if k in entry else None for k in ("weights", "cache")}
            found[name] = {"model": entry["model"], **paths}
        return found

    def modality(self, name: str, single: tuple[str, ...] = ()) -> dict:
        """[modalities.NAME] with file names resolved; {} where there is none. A table of files is {tissue: Path}; the keys
        `single` take one file and no table.
        """
        entry = self.values.get("modalities", {}).get(name, {})
        if not isinstance(entry, dict):
            raise MetaError(f"not a table, [modalities.{name}] in {self.name}; write [modalities.{name}]", USAGE)
        if not isinstance(entry.get("files", {}), dict):
            raise MetaError(
                f'not a table, [modalities.{name}] files in {self.name}; write files = {{tissue = "..."}}', USAGE
            )
        for key in single:
            if not isinstance(entry.get(key, ""), str):
                what = "a table" if isinstance(entry[key], dict) else "no file name"
                where = f"[modalities.{name}] {key} in {self.name}"
                raise MetaError(f'{what} where one file is needed, {where}; write {key} = "..."', USAGE)
        return {k: self._value(v, f"[modalities.{name}] {k}") for k, v in entry.items()}

    def _value(self, value, where: str):
        if isinstance(value, dict):
            return {k: self.file(v, f"{where}.{k}") for k, v in value.items()}
        return self.file(value, where) if isinstance(value, str) else value

    @property
    def sampling(self) -> dict:
        """[sampling]: defaults for ms-features (min_score, dinucleotide, background)."""
        found = self.values.get("sampling", {})
        if unknown := sorted(set(found) - {"min_score", "dinucleotide", "background"}):
            raise MetaError(
                f"unknown key {unknown[0]}, [sampling] in {self.name}; known: min_score, dinucleotide, background",
                USAGE,
            )
        return found


def load(given: str | None = None) -> Config:
    """The file given, else $MS_CONFIG, else ./ms.toml, else an empty Config."""
    name = given or os.environ.get("MS_CONFIG")
    path = Path(name or "ms.toml")
    if not path.exists():
        if name:
            raise MetaError(f"no such configuration, {path}; check --config or $MS_CONFIG", USAGE)
        return Config()
    try:
        return Config(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MetaError(f"not TOML ({error}), {path}; mend that line", USAGE) from error
