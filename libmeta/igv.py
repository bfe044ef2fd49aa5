"""IGV session files: base and refined tracks over each other, on the user's own genome."""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

COLOURS = {"donor": "31,119,180", "acceptor": "214,39,40"}
FADED = {"donor": "158,202,225", "acceptor": "252,174,145"}


def session(
    path: str | Path, genome: str, rows: dict[str, dict[str, str]], locus: str, annotation: str | None = None
) -> str:
    """The XML of a session to be saved at `path`; files are named relative to it.

    rows: {name, "" for none: {label: bigWig prefix}}; of each, for each kind of site and strand, the tracks of all labels
    are overlaid, the last one in full colour. locus: chr:start-end, 1-based.
    """
    folder = Path(path).resolve().parent

    def near(name: str | Path) -> str:
        return os.path.relpath(Path(name).resolve(), folder)

    root = ET.Element("Session", genome=near(genome), locus=locus, version="8")
    resources = ET.SubElement(root, "Resources")
    panel = ET.SubElement(root, "Panel", name="DataPanel")
    seen: set[str] = set()
    for name, prefixes in rows.items():
        for strand in ("plus", "minus"):
            for site in ("donor", "acceptor"):
                files = {label: near(f"{prefix}.{site}.{strand}.bw") for label, prefix in prefixes.items()}
                for file in files.values():
                    if file not in seen:
                        ET.SubElement(resources, "Resource", path=file)
                    seen.add(file)
                _merged(panel, f"{name} {site} {'+' if strand == 'plus' else '-'}".strip(), files, site)
    if annotation:
        ET.SubElement(resources, "Resource", path=near(annotation))
        track = {"id": near(annotation), "name": "annotation", "displayMode": "EXPANDED", "clazz": _FEATURES}
        ET.SubElement(ET.SubElement(root, "Panel", name="FeaturePanel"), "Track", track)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


_FEATURES = "org.broad.igv.track.FeatureTrack"


def _merged(panel: ET.Element, name: str, files: dict[str, str], site: str) -> None:
    """One panel row in which the tracks of one kind of site and strand lie over each other, 0..1."""
    attributes = {"clazz": "org.broad.igv.track.MergedTracks", "id": name, "name": name, "height": "60", "alpha": "0.7",
                  "autoScale": "false"}  # fmt: skip
    row = ET.SubElement(panel, "Track", attributes)
    last = list(files)[-1]
    for label, file in files.items():
        colour = (COLOURS if label == last else FADED)[site]
        track = ET.SubElement(
            row, "Track", {"id": file, "name": f"{label} {name}", "color": colour, "autoScale": "false",
                           "renderer": "BAR_CHART", "windowFunction": "max", "clazz": "org.broad.igv.track.DataSourceTrack"}
        )  # fmt: skip
        ET.SubElement(track, "DataRange", minimum="0", baseline="0", maximum="1", type="LINEAR", drawBaseline="true")
    ET.SubElement(row, "DataRange", minimum="0", baseline="0", maximum="1", type="LINEAR", drawBaseline="true")
