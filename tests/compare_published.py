"""Published SpliceAI scores beside ours: a table of every variant that differs, with the reason as far as it shows.

    python tests/compare_published.py PUBLISHED.vcf --contigs 15 -- --genome chr15.fa.gz --genes spliceai.grch38.txt
        --weights weights/spliceai --like-spliceai -D 100

What follows -- goes to ms-delta. PUBLISHED.vcf has INFO/SpliceAI. A variant agrees where every delta is within 0.01 and
every position of a delta of 0.1 or more is the same. Exit code 1 where a difference is unexplained.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

TOLERANCE, SHOWN = 0.01, 0.1
ROUNDING = 1e-6


def entries(info: str, key: str) -> dict[str, tuple[list[float], list[str]]]:
    """{symbol: (four scores, four positions)} of the string under `key`."""
    found = {}
    for field in info.split(";"):
        name, _, value = field.partition("=")
        for entry in value.split(",") if name == key else ():
            parts = entry.split("|")
            if len(parts) == 10 and "." not in parts[2:6]:
                found[parts[1]] = ([float(x) for x in parts[2:6]], parts[6:])
    return found


def differs(published: tuple, ours: tuple) -> bool:
    scores = any(abs(a - b) > TOLERANCE + ROUNDING for a, b in zip(published[0], ours[0], strict=True))
    return scores or any(
        p != q for s, p, q in zip(published[0], published[1], ours[1], strict=True) if s >= SHOWN - ROUNDING
    )


def explain(symbol: str, published: tuple, ours: dict) -> str:
    """Why they differ: "" is unexplained."""
    if symbol in ours:
        return ""
    if any(not differs(published, o) for name, o in ours.items() if name != "."):
        return "same scores, gene under another name: annotation version"
    if set(ours) <= {"."}:
        return "no gene here in this table: annotation version"
    return "another gene here in this table: annotation version"


def annotate(lines: list[str], options: list[str], folder: Path) -> list[str]:
    """Records as ms-delta returns them, with INFO/Ours."""
    (folder / "in.vcf").write_text("".join(lines))
    command = [str(Path(sys.executable).with_name("ms-delta")), str(folder / "in.vcf"), "--info-name", "Ours", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("#")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("published", type=Path)
    parser.add_argument("--contigs", nargs="*", help="only these")
    parser.add_argument("--key", default="SpliceAI", help="INFO key of the published string; a peer's output does, too")
    typed = sys.argv[1:]
    cut = typed.index("--") if "--" in typed else len(typed)
    given, options = parser.parse_args(typed[:cut]), typed[cut + 1 :]
    lines = given.published.read_text().splitlines(keepends=True)
    kept = [x for x in lines if x.startswith("#") or not given.contigs or x.split("\t")[0] in given.contigs]
    with tempfile.TemporaryDirectory() as folder:
        records = annotate(kept, options, Path(folder))
    compared = agreed = unexplained = without = 0
    largest = 0.0
    print("variant\tgene\tpublished\tours\twhy")
    for record in records:
        chrom, pos, _, ref, alt, _, _, info = record.split("\t")[:8]
        published, ours = entries(info, given.key), entries(info, "Ours")
        without += not published
        for symbol, scores in published.items():
            compared += 1
            same = ours.get(symbol)
            if same and not differs(scores, same):
                agreed += 1
                largest = max([largest, *(abs(a - b) for a, b in zip(scores[0], same[0], strict=True))])
                continue
            why = explain(symbol, scores, ours)
            unexplained += not why
            shown = "; ".join(f"{name} {value}" for name, value in ours.items()) or "none"
            print(f"{chrom}:{pos} {ref}>{alt}\t{symbol}\t{scores}\t{shown}\t{why or 'UNEXPLAINED'}")
    print(
        f"{compared} published scores: {agreed} agree (largest difference {largest:.2f}), {compared - agreed - unexplained} "
        f"explained, {unexplained} unexplained; {without} of {len(records)} variants have no published scores"
    )
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
