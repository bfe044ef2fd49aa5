"""Pictures beside the table or VCF of a run of ms-delta: the heat map of a saturation, the page of a VCF."""

from collections.abc import Sequence
from pathlib import Path

from libmeta.delta import Allele, Deltas
from libmeta.delta_ranking import Ranking
from libmeta.delta_run import Job
from libmeta.errors import USAGE, MetaError
from libmeta.saturation_map import SaturationMap
from libmeta.streams import atomic
from libmeta.vcf import Record


def check(saturate: str | None, variants: str, indels: int, picture: str | None, html: str | None) -> None:
    """What cannot work together, and what is not installed; before anything is opened."""
    if saturate is None:
        for given, name in ((picture, "--picture"), (indels, "--indels")):
            if given:
                raise MetaError(f"{name} without --saturate; name the region: --saturate chr1:1,000-1,100", USAGE)
    elif variants != "-":
        raise MetaError(f"both VARIANTS and --saturate, {variants}; give one of them", USAGE)
    elif html:
        raise MetaError("--html with --saturate; --picture draws a saturation, --html the variants of a VCF", USAGE)
    for given, name in ((picture, "--picture"), (html, "--html")):
        if given:
            from libmeta.report import require_matplotlib

            require_matplotlib(name)
            if not Path(given).absolute().parent.is_dir():
                raise MetaError(f"no folder to write to, {name} {given}; make it first")
    if picture:
        from libmeta.saturation_figure import check_ending

        check_ending(picture)


class Views:
    """Takes up records as they are scored and draws when all are; memory does not grow with their number.

    picture: file of the heat map; html: file of the page, with `top` pictures. masked: which scores are drawn and sort.
    """

    def __init__(self, reader, deltas: Deltas, picture: str | None, html: str | None, top: int, masked: bool):
        self.picture, self.html, self.masked, self.deltas, self.reader = picture, html, masked, deltas, reader
        if picture:
            self._map = SaturationMap(reader.region, reader.codes, deltas.genes, reader.longest, masked)
        self._ranking = Ranking(top, masked)

    def add(self, records: Sequence[Record], found: Sequence[list[Allele]]) -> None:
        """Take up scored records."""
        if self.picture:
            self._map.add(found)
        if self.html:
            self._ranking.add(records, found)

    def write(self, job: Job, about: dict, chain: list[dict]) -> None:
        """Write the files. about: as delta_models.open_models tells of the models."""
        model, refined = about["model"], about.get("meta")
        if self.picture:
            from libmeta import saturation_figure

            told = model["name"] + (f", refined by {refined['name']}" if refined else "")
            saturation_figure.draw(self._map, told, self.picture)
        if self.html:
            from libmeta import delta_report

            told = f"{model['name']}, {model['networks']} networks"
            told += f", refined by {refined['name']} ({refined['recipe']})" if refined else ""
            told += ", like SpliceAI's command" if self.deltas.like_spliceai else ""
            run = delta_report.Run(
                self.reader.where, told, self.deltas.distance, self.masked, job.records, job.broken, chain
            )
            with atomic(self.html) as path:
                path.write_text(delta_report.page(run, self._ranking, self.deltas.genes), encoding="utf-8")
