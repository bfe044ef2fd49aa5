"""Make the real piece of chromosome 15 in this folder from public Python packages; see README.md beside this file.

python tests/data/make.py [FOLDER]              FOLDER holds, or receives, the downloaded packages (about 155 MB)
python tests/data/make.py FOLDER OUT [CHROM]    a whole chromosome, chr15 or chr19 (56 MB more), into OUT instead, with an
                                                ms.toml
"""

import csv
import gzip
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pysam

CHROM, START, END = "chr15", 48_000_000, 50_500_000  # 0-based half-open, GRCh38
HERE = Path(__file__).parent
PACKAGES = {
    "jcast": ("jcast==0.3.5", ["--no-binary", ":all:"], "jcast-0.3.5.tar.gz"),
    "mmsplice": ("mmsplice==2.4.0", [], "mmsplice-2.4.0-py2.py3-none-any.whl"),
    "intronIC": ("intronIC==3.0.0", [], "intronic-3.0.0-py3-none-any.whl"),
    "spliceai": ("spliceai==1.3.1", [], "spliceai-1.3.1-py2.py3-none-any.whl"),
}
# where a chromosome's sequence is, and its length
GENOMES = {
    "chr15": ("jcast", "jcast-0.3.5/tests/data/genome/Homo_sapiens.GRCh38.dna.chromosome.15.fa.gz", 101_991_189),
    "chr19": ("intronIC", "intronIC/data/test_data/Homo_sapiens.Chr19.Ensembl_91.fa.gz", 58_617_616),
}
GTF = "jcast-0.3.5/tests/data/genome/gencode.v34.annotation.gtf"
PSI = "mmsplice/models/gtex_psi_map_ranges.csv.gz"
TABLE = "spliceai/annotations/grch38.txt"
KEPT = ("gene_id", "transcript_id", "gene_type", "gene_name", "transcript_type", "exon_number", "tag")
KEPT_TAGS = ("basic", "MANE_Select", "Ensembl_canonical", "CCDS", "appris_principal_1")


def package(name: str, folder: Path) -> Path:
    requirement, options, file = PACKAGES[name]
    if not (folder / file).exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            *options,
            "-d",
            str(folder),
            requirement,
        ]
        subprocess.run(command, check=True)
    return folder / file


def gzipped(path: Path, text: str) -> None:
    """Compress with no name and no time inside, so that the same input gives the same bytes."""
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.write(text.encode())


def member(name: str, path: str, folder: Path) -> io.BytesIO:
    """A file inside a package, tar or zip."""
    archive = package(name, folder)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return io.BytesIO(wheel.read(path))
    with tarfile.open(archive) as tar:
        return io.BytesIO(tar.extractfile(path).read())


def genome(stream: io.BufferedIOBase, chrom: str, start: int, end: int, out: Path) -> None:
    """The chromosome at its true length, everything outside the piece masked with N; bgzipped and indexed."""
    lines = gzip.open(stream).read().split(b"\n")
    sequence = b"".join(lines[1:])
    if len(sequence) != GENOMES[chrom][2]:
        raise SystemExit(f"{chrom} has {len(sequence):,} bases, not {GENOMES[chrom][2]:,}")
    masked = b"N" * start + sequence[start:end] + b"N" * (len(sequence) - end)
    target = out / f"{chrom}.fa.gz"
    with tempfile.NamedTemporaryFile(suffix=".fa") as plain:
        plain.write(b">" + chrom.encode() + b"\n")
        for at in range(0, len(masked), 100):
            plain.write(masked[at : at + 100] + b"\n")
        plain.flush()
        pysam.tabix_compress(plain.name, str(target), force=True)
    pysam.faidx(str(target))


def annotation(lines: io.BufferedIOBase, chrom: str, start: int, end: int, out: Path) -> None:
    """GENCODE lines of the genes that lie wholly in the piece, attributes thinned to those in use."""
    kept: list[str] = []
    for raw in lines:
        if not raw.startswith(chrom.encode() + b"\t"):
            continue
        fields = raw.decode().rstrip("\n").split("\t")
        if not (int(fields[3]) > start and int(fields[4]) <= end):
            continue
        if fields[2] not in ("gene", "transcript", "exon", "CDS"):
            continue
        pairs = re.findall(r'(\w+) "?([^";]*)"?;', fields[8])
        pairs = [(k, v) for k, v in pairs if k in KEPT and (k != "tag" or v in KEPT_TAGS)]
        fields[8] = " ".join(f"{k} {v};" if k == "exon_number" else f'{k} "{v}";' for k, v in pairs)
        kept.append("\t".join(fields))
    whole = {m[1] for line in kept if line.split("\t")[2] == "gene" and (m := re.search(r'gene_id "([^"]*)"', line))}
    inside = [line for line in kept if re.search(r'gene_id "([^"]*)"', line)[1] in whole]
    gzipped(out / "gencode.v34.gtf.gz", "\n".join(inside) + "\n")


def psi(stream: io.BufferedIOBase, chrom: str, start: int, end: int, folder: Path) -> None:
    """The rows of the exon x tissue table in the piece, as they are."""
    rows = csv.reader(io.TextIOWrapper(gzip.open(stream)))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(next(rows))
    for row in rows:
        if row[0] == chrom and int(row[1]) > start and int(row[2]) <= end:
            writer.writerow([*row[:6], *(f"{float(v):.4g}" if v else "" for v in row[6:])])
    gzipped(folder / "gtex_psi.csv.gz", out.getvalue())


def table(stream: io.BufferedIOBase, chrom: str, start: int, end: int, out: Path) -> None:
    """The canonical transcripts of SpliceAI's own table in the piece."""
    lines = io.TextIOWrapper(stream).read().splitlines()
    kept = [
        line
        for line in lines[1:]
        if (f := line.split("\t"))[1] == chrom[3:] and int(f[3]) >= start and int(f[4]) <= end
    ]
    (out / "spliceai.grch38.txt").write_text("\n".join([lines[0], *kept]) + "\n")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    what = (CHROM, START, END, HERE)
    if len(sys.argv) > 2:
        chrom = sys.argv[3] if len(sys.argv) > 3 else CHROM
        what = (chrom, 0, GENOMES[chrom][2], Path(sys.argv[2]))
        what[3].mkdir(parents=True, exist_ok=True)
        text = (HERE / "ms.toml").read_text().replace("../../build/demo/", "").replace(CHROM, chrom).splitlines()
        (what[3] / "ms.toml").write_text("\n".join([f"# Chromosome {chrom[3:]} whole.", *text[1:]]) + "\n")
    source, path, _ = GENOMES[what[0]]
    genome(member(source, path, folder), *what)
    with tarfile.open(package("jcast", folder)) as archive:
        annotation(archive.extractfile(GTF), *what)
    psi(member("mmsplice", PSI, folder), *what)
    table(member("spliceai", TABLE, folder), *what)


if __name__ == "__main__":
    main()
