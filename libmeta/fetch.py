"""`python -m libmeta.fetch`: bring public whole-genome data into a folder. No ms- tool does this by itself."""

import argparse
import logging
import sys
from pathlib import Path

from libmeta import downloads, public_data
from libmeta.errors import MetaError
from libmeta.streams import atomic

log = logging.getLogger("libmeta")


def main(arguments: list[str], pauses=downloads.PAUSES) -> None:
    """Command line of `python -m libmeta.fetch`."""
    parser = argparse.ArgumentParser(
        prog="python -m libmeta.fetch",
        description="Fetch public data: sizes and sources are shown first; what was stopped goes on; what is there stays.",
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="genome, conservation, ... [default: all]")
    parser.add_argument("--folder", required=True, type=Path, help="where to put it")
    parser.add_argument(
        "--sources", default=public_data.LIST, metavar="TOML", help="list of sources [default: our own]"
    )
    parser.add_argument("--dry-run", action="store_true", help="only look everything up and show sizes and the total")
    parser.add_argument(
        "--config", action="store_true", help="write FOLDER/ms.toml of what is there, and fetch nothing"
    )
    options = parser.parse_args(arguments)
    if options.config:
        with atomic(options.folder / "ms.toml") as path:
            path.write_text(public_data.toml(options.folder), encoding="utf-8")
        return
    encode, sources = public_data.read(options.sources)
    lists: dict[str, str] = {}
    chosen = public_data.choose(sources, options.groups)
    found = [f for source in chosen for f in public_data.look_up(source, encode, lists, pauses)]
    sys.stdout.writelines(lines(found, options.folder))
    sys.stdout.flush()
    if options.dry_run:
        return
    for one in found:
        path = options.folder / one.path
        with _Talk(one.path) as talk:
            downloads.fetch(one.remote, path, talk, pauses)
        public_data.note(one, options.folder)


def lines(found: list[public_data.Found], folder: Path) -> list[str]:
    """A tab-separated table: bytes to come, checksum, file, where from, licence; and the total."""
    rows, total, unknown = ["# group\tbytes\tstill to come\tchecked by\tfile\tsource\tlicence\n"], 0, 0
    for one in found:
        path, size = folder / one.path, one.remote.size
        part = Path(f"{path}.part")
        have = path.stat().st_size if path.exists() else part.stat().st_size if part.exists() else 0
        left = None if size is None else max(size - have, 0)
        total, unknown = total + (left or 0), unknown + (size is None)
        told = ["unknown" if n is None else f"{n:,}" for n in (size, left)]
        check = "md5" if one.remote.md5 else "size" if size is not None else "nothing"
        where = one.about.get("accession") or one.remote.url
        rows.append("\t".join((one.source.group, *told, check, one.path, where, one.source.licence)) + "\n")
    more = f" and {unknown} files of unknown size" if unknown else ""
    rows.append(f"# {len(found)} files, {total:,} bytes ({total / 1e9:.1f} GB){more} to come\n")
    return rows


class _Talk:
    """A progress bar of bytes where standard error is a terminal."""

    def __init__(self, name: str):
        self._name, self._bar = name, None

    def __enter__(self):
        return self

    def __call__(self, have: int, size: int | None) -> None:
        if self._bar is None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=size, unit="B", unit_scale=True, desc=self._name)
        if self._bar is not None:
            self._bar.update(have - self._bar.n)

    def __exit__(self, kind, error, trace):
        if self._bar is not None:
            self._bar.close()


if __name__ == "__main__":
    logging.basicConfig(format="fetch: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        main(sys.argv[1:])
    except MetaError as error:
        sys.stderr.write(f"fetch: error: {error}\n")
        raise SystemExit(error.code) from None
    except KeyboardInterrupt:
        sys.stderr.write("fetch: interrupted; give the command again, it goes on\n")
        raise SystemExit(130) from None
