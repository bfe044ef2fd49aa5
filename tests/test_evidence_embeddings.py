"""Embeddings: components against scikit-learn, columns against plain numpy at each position, HDF5 and Parquet alike."""

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evidence_case import LENGTHS, NAN, World, embeddings_file, fitted_pca, same
from sklearn.decomposition import PCA

from libmeta import embedding_pca
from libmeta.embedding_files import Embeddings
from libmeta.errors import MetaError
from libmeta.modalities import fm_embeddings

STEP, WIDTH = 8, 10


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Regular bins of 8 bp from base 16 on: c1 by strand, c2 not, c3 without."""
    world = World(tmp_path_factory.mktemp("embeddings"))
    mix = world.rng.normal(size=(WIDTH, WIDTH)) * np.arange(1, WIDTH + 1)
    world.vectors = {
        name: (world.rng.normal(size=(LENGTHS[name[:2]] // STEP - 5, WIDTH)) @ mix + 3).astype("f4")
        for name in ("c1/+", "c1/-", "c2")
    }
    world.vectors["c1/+"][40] = np.nan
    world.file = embeddings_file(world.folder / "e.h5", world.vectors, STEP, first=16)
    fitted_pca(world.folder, world.file, world.genome.contigs, ["c1"])
    return world


def oracle(world):
    train = np.concatenate([world.vectors["c1/+"], world.vectors["c1/-"]]).astype(float)
    return PCA(6).fit(train[np.isfinite(train).all(axis=1)])


def test_components_are_those_of_the_training_contigs(world):
    ours, theirs = embedding_pca.load(world.folder / "pca.safetensors"), oracle(world)
    assert ours.contigs == ["c1"]
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-9)
    np.testing.assert_allclose(ours.variance, theirs.explained_variance_, rtol=1e-9)
    signs = np.sign(np.sum(ours.components * theirs.components_, axis=1))
    np.testing.assert_allclose(ours.components, theirs.components_ * signs[:, None], atol=1e-8)
    assert (ours.components[np.arange(6), np.abs(ours.components).argmax(axis=1)] > 0).all()


def test_pieces_and_strides_of_the_fit(world, monkeypatch):
    embeddings = Embeddings(world.file, world.genome.contigs)
    whole = embedding_pca.fit(embeddings, ["c1", "c2"])
    monkeypatch.setattr("libmeta.embedding_files.BLOCK_BYTES", 4 * WIDTH * 7)
    pieces = embedding_pca.fit(embeddings, ["c1", "c2"])
    np.testing.assert_allclose(whole.components, pieces.components, atol=1e-9)
    every = embedding_pca.fit(embeddings, ["c2"], most=70)
    stride = -(-len(world.vectors["c2"]) // 70)
    np.testing.assert_allclose(every.mean, world.vectors["c2"][::stride].astype(float).mean(axis=0), rtol=1e-9)


def expected(world, chrom, pos, strand, pca):
    """The 8 columns of a position in plain Python."""
    key = f"{chrom}/{strand}" if chrom == "c1" else chrom
    vectors = world.vectors.get(key, np.zeros((0, WIDTH))).astype(float)
    i = (pos - 16) // STEP
    if not 0 <= i < len(vectors) or np.isnan(vectors[i]).any():
        return [NAN] * 8
    beside = [vectors[j] for j in (i - 1, i + 1) if 0 <= j < len(vectors) and np.isfinite(vectors[j]).all()]
    gradient = np.mean([np.sqrt(((vectors[i] - b) ** 2).sum()) for b in beside])
    return [*((vectors[i] - pca.mean) @ pca.components.T), np.sqrt((vectors[i] ** 2).sum()), gradient]


@pytest.mark.parametrize("block", [64 << 20, 4 * WIDTH * 9])
def test_columns_and_channels(world, monkeypatch, block):
    monkeypatch.setattr("libmeta.embedding_files.BLOCK_BYTES", block)
    reader = world.reader("fm_embeddings", file="e.h5", pca="pca.safetensors")
    pca = embedding_pca.load(world.folder / "pca.safetensors")
    for chrom, start, end in (("c1", 0, 500), ("c1", 3800, 4000), ("c2", 100, 1700), ("c3", 0, 50)):
        for strand in "+-":
            found = world.read(reader, chrom, start, end, strand)
            rows = [expected(world, chrom, p, strand, pca) for p in range(start, end)]
            for i, column in enumerate(fm_embeddings.COLUMNS):
                wanted = np.array([r[i] for r in rows])
                np.testing.assert_allclose(found[column.name], wanted, rtol=1e-5, atol=1e-4, err_msg=column.name)
            dense = world.dense(reader, chrom, start - 7, end + 9, strand)
            for channel in reader.channels:
                inside = slice(7, 7 + end - start)
                np.testing.assert_array_equal(dense[channel.name][inside], found[channel.name])
                if end == LENGTHS[chrom]:
                    assert np.isnan(dense[channel.name][inside.stop :]).all()


def parquet(world, path, size=37, **changes):
    rows = []
    for name, vectors in world.vectors.items():
        chrom, strands = name[:2], name[3:] or "+-"  # a table has a strand in every row or in none
        rows += [
            (chrom, 16 + STEP * i, 16 + STEP * (i + 1), s, v.tolist()) for s in strands for i, v in enumerate(vectors)
        ]
    chrom, start, end, strand, vector = zip(*rows, strict=True)
    columns = {"chrom": chrom, "start": start, "end": end, "strand": strand,
               "embedding": pa.array(vector, pa.list_(pa.float32()))}  # fmt: skip
    pq.write_table(pa.table(columns | changes), path, row_group_size=size)


def test_parquet_is_hdf5(world):
    parquet(world, world.folder / "e.parquet")
    hdf5, table = (world.reader("fm_embeddings", file=f, pca="pca.safetensors") for f in ("e.h5", "e.parquet"))
    some = np.sort(world.rng.choice(np.arange(200, 3900), 300, replace=False))
    for strand in "+-":
        ours, theirs = (world.read(r, "c1", 200, 3900, strand, some) for r in (hdf5, table))
        for name in ours:
            same(ours[name], theirs[name], name)
    same(world.read(hdf5, "c2", 0, 900, "-")["norm"], world.read(table, "c2", 0, 900, "-")["norm"])


def test_bins_with_gaps(world):
    """Bins of any width: a base in a gap is missing, and bins that do not touch are no neighbours."""
    start, end = np.array([10, 30, 50, 57]), np.array([20, 50, 55, 60])
    vectors = np.random.default_rng(4).normal(size=(4, WIDTH)).astype("f4")
    with h5py.File(world.folder / "gaps.h5", "w") as file:
        group = file.create_group("c1")
        for name, values in (("start", start), ("end", end), ("embedding", vectors)):
            group.create_dataset(name, data=values)
    found = world.read(world.reader("fm_embeddings", file="gaps.h5", pca="pca.safetensors"), "c1", 0, 70, "-")
    bins = [next((i for i in range(4) if start[i] <= p < end[i]), None) for p in range(70)]
    norms = np.sqrt((vectors.astype(float) ** 2).sum(axis=1))
    same(found["norm"], [NAN if i is None else norms[i] for i in bins])
    touching = np.sqrt(((vectors[1].astype(float) - vectors[2]) ** 2).sum())
    same(found["local_gradient"], [touching if i in (1, 2) else NAN for i in bins])


def test_regular_bins_past_the_end(world):
    embeddings_file(world.folder / "past.h5", {"c1": np.ones((20, WIDTH), "f4")}, STEP, first=3900)
    reader = world.reader("fm_embeddings", file="past.h5", pca="pca.safetensors")
    with pytest.raises(MetaError, match=r"bin c1:4052-4060 ends past its contig"):
        world.read(reader, "c1", 0, 10, "+")


def test_narrow_embeddings_have_fewer_components(world):
    embeddings_file(world.folder / "narrow.h5", {"c1": np.random.default_rng(1).normal(size=(50, 3)).astype("f4")}, 1)
    contigs = world.genome.contigs
    pca = embedding_pca.fit(Embeddings(world.folder / "narrow.h5", contigs), ["c1"])
    embedding_pca.save(pca, world.folder / "narrow.safetensors", [{"tool": "t"}])
    reader = world.reader("fm_embeddings", file="narrow.h5", pca="narrow.safetensors")
    found = world.read(reader, "c1", 0, 50, "+")
    assert [c.name for c in reader.channels] == ["pca_1", "pca_2", "pca_3"]
    assert np.isfinite(found["pca_3"]).all()
    assert np.isnan(found["pca_4"]).all()


def test_command_line(world):
    out = world.folder / "made.safetensors"
    embedding_pca.main([str(world.file), "--genome", str(world.folder / "g.fa"), "--train", "chrc1", "-o", str(out)])
    assert out.read_bytes() != b""
    made, direct = embedding_pca.load(out), embedding_pca.load(world.folder / "pca.safetensors")
    assert np.array_equal(made.components, direct.components)
    with pytest.raises(MetaError, match="no embedding on c3"):
        embedding_pca.main([str(world.file), "--genome", str(world.folder / "g.fa"), "--train", "c3", "-o", str(out)])


def bad_hdf5(path, start, data=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("c1")
        group.create_dataset("embedding", data=np.ones((len(start), WIDTH), "f4") if data is None else data)
        group.create_dataset("start", data=start)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ([5, 4], "bin c1:4-5 is unsorted or overlaps the one before"),
        ([5, 5], "is unsorted or overlaps"),
        ([-1, 4], "bin c1:-1-0 starts before its contig"),
        ([5, 4000], "bin c1:4000-4001 ends past its contig (4,000 bp)"),
    ],
)
def test_bad_bins(world, start, says):
    name = "bad{}_{}.h5".format(*start)  # the one before may still be open
    bad_hdf5(world.folder / name, np.array(start))
    reader = world.reader("fm_embeddings", file=name, pca="pca.safetensors")
    with pytest.raises(MetaError) as error:
        world.read(reader, "c1", 0, 10, "+")
    assert says in str(error.value)


def test_bad_files(world):
    folder = world.folder
    (folder / "text.h5").write_text("nothing")
    raw = world.file.read_bytes()
    (folder / "cut.h5").write_bytes(raw[: len(raw) // 2])
    bad_hdf5(folder / "flat.h5", np.arange(3), np.ones(3))
    embeddings_file(folder / "wide.h5", {"c1": np.ones((5, WIDTH + 1), "f4")}, 1)
    embeddings_file(folder / "other.h5", {"zz": np.ones((5, WIDTH), "f4")}, 1)
    h5py.File(folder / "none.h5", "w").close()
    pq.write_table(pa.table({"chrom": ["c1"], "start": [1]}), folder / "lacks.parquet")
    parquet(world, folder / "ragged.parquet")
    table = pq.read_table(folder / "ragged.parquet").slice(0, 2)
    ragged = pa.array([[1.0] * WIDTH, [1.0]], pa.list_(pa.float32()))
    pq.write_table(table.set_column(4, "embedding", ragged), folder / "ragged.parquet")
    (folder / "cut.safetensors").write_bytes((folder / "pca.safetensors").read_bytes()[:30])
    cases = {
        "text.h5": "neither HDF5 nor Parquet", "cut.h5": "not HDF5 or truncated", "flat.h5": "no dataset embedding",
        "wide.h5": "components for 10 numbers", "other.h5": "no contig in common", "none.h5": "no embedding,",
        "lacks.parquet": "no column embedding", "ragged.parquet": "vectors of different lengths",
    }  # fmt: skip
    for name, says in cases.items():
        with pytest.raises(MetaError, match=says):
            world.reader("fm_embeddings", file=name, pca="pca.safetensors")
    for name in ("cut.safetensors", "e.h5"):
        with pytest.raises(MetaError, match="not safetensors or truncated"):
            world.reader("fm_embeddings", file="e.h5", pca=name)
    with pytest.raises(MetaError, match="no pca, "):
        world.reader("fm_embeddings", file="e.h5")
