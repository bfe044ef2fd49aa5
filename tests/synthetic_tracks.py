"""A chromosome with a source of every modality, random with a fixed seed, as large as real ones: for benchmarks.

The shapes are those of real files: phyloP and phastCons at nearly every base, fold changes in steps of some 20 bp, base
scores and exon probabilities along genes, a few thousand peaks in each eCLIP file.
"""

from pathlib import Path

import h5py
import numpy as np
import pyBigWig

from libmeta.bigwig_writer import BigWigWriter
from libmeta.contigs import Contigs
from libmeta.embedding_files import Embeddings
from libmeta.embedding_pca import fit, save
from libmeta.genome import decode
from libmeta.tracks import ScoreWriter

CHROM, LENGTH = "chr15", 101_991_189
BLOCK = 1 << 20
TISSUES = ("brain", "heart", "liver", "lung", "muscle")
PROTEINS = ("RBFOX2", "SRSF1", "HNRNPC", "PTBP1", "U2AF2", "QKI", "TIA1", "SF3B4", "HNRNPK", "SRSF7")
CELLS = ("K562", "HepG2")
STEP, WIDTH = 128, 64  # bp of an embedding's bin, numbers in its vector


def make(folder: Path, length: int = LENGTH, tissues: int = 5, proteins: int = 10, seed: int = 1) -> Path:
    """All sources below `folder`, and the ms.toml that names them; what is there already, stays."""
    told = folder / f"made-{length}-{tissues}-{proteins}-{seed}"
    if not told.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        contigs = Contigs({CHROM: length}, "synthetic.fa")
        codes = rng.integers(1, 5, length, dtype=np.uint8)
        _fasta(folder / "synthetic.fa", codes)
        genes = _genes(rng, codes)
        _annotation(folder / "genes.gtf", genes)
        _base_scores(folder / "base", contigs, rng, genes)
        make_evidence(folder, contigs, rng, tissues, proteins)
        _junctions(folder, rng, genes, tissues)
        config = folder / "ms.toml"
        config.write_text(
            '[genome]\nfasta = "synthetic.fa"\n[annotation]\ntiers = [{name = "all", gtf = "genes.gtf"}]\n'
            '[base_scores.toy]\nprefix = "base"\n[modalities.junction]\nfiles = '
            + _table({t: f"{t}.SJ.out.tab" for t in TISSUES[:tissues]})
            + (folder / "evidence.toml").read_text()
        )
        (folder / f"{CHROM}.bed").write_text(f"{CHROM}\t0\t{length}\n")
        told.touch()
    return folder / "ms.toml"


def make_evidence(folder: Path, contigs: Contigs, rng, tissues: int = 5, proteins: int = 10) -> Path:
    """Every source that is neither sequence, genes, junctions nor base scores, on the first contig; evidence.toml."""
    chrom, length = next(iter(contigs.lengths.items()))
    _conserved(folder / "phylop.bw", contigs, rng, lambda n: np.round(rng.normal(0.2, 1.3, n), 3))
    _conserved(folder / "phastcons.bw", contigs, rng, lambda n: np.round(rng.beta(0.15, 1.0, n), 3))
    sections = {}
    for modality, marks in (("epigenetic", ("h3k36me3", "h3k4me3")), ("chrom_access", ("atac", "dnase"))):
        for mark in marks:
            files = {t: f"{mark}.{t}.bw" for t in TISSUES[:tissues]}
            for name in files.values():
                _steps(folder / name, contigs, rng)
            sections.setdefault(modality, []).append(f"{mark} = {_table(files)}")
    peaks = {f"{p}_{c}": f"{p}_{c}.narrowPeak" for p in PROTEINS[:proteins] for c in CELLS}
    for name in peaks.values():
        _peaks(folder / name, chrom, length, rng)
    for strand in ("plus", "minus"):
        _conserved(folder / f"exon.{strand}.bw", contigs, rng, lambda n: np.round(rng.beta(0.2, 2.0, n), 3), 0.5)
    _embeddings(folder, contigs, rng)
    text = '[modalities.conservation]\nphylop = "phylop.bw"\nphastcons = "phastcons.bw"\n'
    for modality, lines in sections.items():
        text += f"[modalities.{modality}]\n" + "".join(lines)
    text += f"[modalities.rbp_eclip]\nfiles = {_table(peaks)}"
    text += '[modalities.exon_prob]\nplus = "exon.plus.bw"\nminus = "exon.minus.bw"\n'
    text += '[modalities.fm_embeddings]\nfile = "embeddings.h5"\npca = "pca.safetensors"\n'
    (folder / "evidence.toml").write_text(text)
    return folder / "evidence.toml"


def _table(files: dict[str, str]) -> str:
    return "{" + ", ".join(f'{k} = "{v}"' for k, v in files.items()) + "}\n"


def _fasta(path: Path, codes: np.ndarray) -> None:
    width = 100
    with open(path, "w") as out:
        out.write(f">{CHROM}\n")
        for at in range(0, len(codes), width * 10_000):
            text = decode(codes[at : at + width * 10_000])
            out.writelines(text[i : i + width] + "\n" for i in range(0, len(text), width))


def _genes(rng, codes: np.ndarray) -> list[tuple[str, int, np.ndarray]]:
    """(strand, start, exons (n, 2)) of a gene in every 60 kb or so; introns run from GT to AG on their strand."""
    genes, at = [], 20_000
    while at < len(codes) - 60_000:
        strand = "+-"[int(rng.integers(2))]
        first, last = ((3, 4), (1, 3)) if strand == "+" else ((2, 4), (1, 2))  # GT..AG, or CT..AC read on plus
        edges, low = [at], at
        for _ in range(int(rng.integers(2, 9))):
            begin = _find(codes, first, low + int(rng.integers(80, 250)))
            end = _find(codes, last, begin + int(rng.integers(200, 4000))) + 2
            edges += [begin, end]
            low = end
        edges.append(low + 300)
        genes.append((strand, at, np.array(edges).reshape(-1, 2)))
        at = edges[-1] + int(rng.integers(5_000, 60_000))
    return genes


def _find(codes: np.ndarray, pair: tuple[int, int], at: int) -> int:
    """The first place from `at` on where the pair of bases stands."""
    near = codes[at : at + 2000]
    return at + int(np.flatnonzero((near[:-1] == pair[0]) & (near[1:] == pair[1]))[0])


def _annotation(path: Path, genes: list) -> None:
    with open(path, "w") as out:
        for i, (strand, _, exons) in enumerate(genes):
            tags = f'gene_id "G{i}"; transcript_id "G{i}t";'
            out.writelines(f"{CHROM}\tx\texon\t{a + 1}\t{b}\t.\t{strand}\t.\t{tags}\n" for a, b in exons.tolist())


def _base_scores(prefix: Path, contigs: Contigs, rng, genes: list) -> None:
    """Along genes: next to nothing everywhere, high at their sites."""
    about = {"format": "base_scores", "version": 1, "provenance": [{"tool": "synthetic"}]}
    with ScoreWriter(prefix, contigs, about) as out:
        for strand, start, exons in genes:
            length = int(exons[-1, 1]) - start
            donor, acceptor = np.minimum(rng.gamma(0.3, 2e-4, (2, length)), 0.4).astype(np.float32)
            low, high = exons[1:, 0] - start, exons[:-1, 1] - 1 - start
            for at, track in ((high, donor), (low, acceptor)) if strand == "+" else ((low, donor), (high, acceptor)):
                track[at] = rng.uniform(0.3, 0.99, len(at))
            out.dense(CHROM, start, strand, donor, acceptor)


def _junctions(folder: Path, rng, genes: list, tissues: int) -> None:
    introns = [
        (a + 1, b, 1 if s == "+" else 2)
        for s, _, exons in genes
        for a, b in zip(exons[:-1, 1].tolist(), exons[1:, 0].tolist(), strict=True)
    ]
    for tissue in TISSUES[:tissues]:
        lines = [
            f"{CHROM}\t{a}\t{b}\t{s}\t{s}\t1\t{n}\t0\t30\n"
            for (a, b, s), n in zip(introns, rng.integers(0, 200, len(introns)).tolist(), strict=True)
            if n
        ]
        (folder / f"{tissue}.SJ.out.tab").write_text("".join(lines))


def _conserved(path: Path, contigs: Contigs, rng, values, share: float = 0.97) -> None:
    """A value at each base of long stretches, `share` of all bases."""
    chrom, length = next(iter(contigs.lengths.items()))
    with BigWigWriter(path, contigs) as out:
        for low in range(0, length, BLOCK):
            block = values(min(BLOCK, length - low)).astype(np.float32)
            for at in range(0, len(block), 50_000):
                gap = int(rng.integers(0, 100_000 * (1 - share) + 1))
                block[at : at + gap] = np.nan
            out.dense(chrom, low, block)


def _steps(path: Path, contigs: Contigs, rng) -> None:
    """A signal in steps of some 20 bp, a tenth of them without a value, as fold changes come."""
    chrom, length = next(iter(contigs.lengths.items()))
    file = pyBigWig.open(str(path), "w")
    file.addHeader([(chrom, length)], maxZooms=1)  # what it is read by does not depend on zooms
    for low in range(0, length, 8 * BLOCK):
        high = min(low + 8 * BLOCK, length)
        edges = np.unique(rng.integers(low + 1, high, (high - low) // 20))
        edges = np.concatenate([[low], edges, [high]])
        kept = rng.random(len(edges) - 1) < 0.9
        values = np.round(rng.gamma(0.6, 1.5, kept.sum()), 5)
        names = np.full(len(values), chrom)
        file.addEntries(names, edges[:-1][kept], ends=edges[1:][kept], values=values)
    file.close()


def _peaks(path: Path, chrom: str, length: int, rng) -> None:
    n = max(length // 30_000, 5)
    start = np.sort(rng.integers(0, length - 200, n))
    end = start + rng.integers(20, 150, n)
    signal, p = rng.normal(3, 1.5, n), rng.gamma(2, 2, n)
    with open(path, "w") as out:
        for a, b, s, x, y in zip(start, end, rng.integers(2, size=n), signal, p, strict=True):
            out.write(f"{chrom}\t{a}\t{b}\tpeak\t0\t{'+-'[s]}\t{x:.5f}\t{y:.5f}\t-1\t-1\n")


def _embeddings(folder: Path, contigs: Contigs, rng) -> None:
    chrom, length = next(iter(contigs.lengths.items()))
    with h5py.File(folder / "embeddings.h5", "w") as file:
        group = file.create_group(chrom)
        n = length // STEP
        data = group.create_dataset("embedding", (n, WIDTH), "f4", chunks=(min(n, 4096), WIDTH))
        for low in range(0, n, 1 << 16):
            data[low : low + (1 << 16)] = rng.standard_normal((min(1 << 16, n - low), WIDTH), np.float32)
        group.attrs["start"], group.attrs["step"] = 0, STEP
    save(
        fit(Embeddings(folder / "embeddings.h5", contigs), [chrom]), folder / "pca.safetensors", [{"tool": "synthetic"}]
    )
