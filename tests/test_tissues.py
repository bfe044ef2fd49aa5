"""Tissues of sites: names, states from PSI and junctions, profiles, ranking within a site, the sparse list beside shards."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from evaluation_case import sites_table

from libmeta import shard_tissues, site_tissues, streams, tissue_names, tissue_profiles, tissue_ranking
from libmeta.check import check_file
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.introns import pack
from libmeta.psi import Psi
from libmeta.shards import ShardRegion
from libmeta.site_tissues import ACTIVE, INACTIVE, UNKNOWN, SiteTissues
from libmeta.split import parse

GTEX = ["Brain - Cortex", "Brain - Cerebellum", "Skin - Sun Exposed (Lower leg)", "Whole Blood", "Liver"]


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("liver",), [4]),
        (("Liver,brain_cortex",), [4, 0]),
        (("Brain - Cortex", "whole blood"), [0, 3]),
        (("skin_sun_exposed_lower_leg",), [2]),
        (("all",), [0, 1, 2, 3, 4]),
        (("liver", "all"), [4, 0, 1, 2, 3]),
    ],
)
def test_tissues_by_name(asked, found):
    assert tissue_names.choose(asked, GTEX, "m") == found


def test_a_name_that_holds_a_comma():
    assert tissue_names.choose(("skin, lower leg",), ["Skin, lower leg", "Liver"], "m") == [0]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ((), "name some of brain_cortex, brain_cerebellum, skin_sun_exposed_lower_leg, whole_blood, liver, or all"),
        (("livre",), "unknown tissue 'livre', --tissue; did you mean liver"),
        (("brain",), "did you mean brain_cortex, brain_cerebellum?"),
        (("liver,xyz",), "unknown tissue 'xyz', --tissue; known: brain_cortex"),
        (("liver,,brain_cortex",), "unknown tissue ''"),
    ],
)
def test_tissues_that_are_not_there(asked, says):
    with pytest.raises(MetaError) as found:
        tissue_names.choose(asked, GTEX, "m")
    assert says in str(found.value) and found.value.code == 2


@pytest.mark.parametrize("names", [["Brain Cortex", "brain-cortex"], ["--"], ["All"]])
def test_names_that_cannot_be_told_apart(names):
    with pytest.raises(MetaError, match="rename"):
        tissue_names.check(names, "f")


# ---- states ---------------------------------------------------------------------------------------------------------


def psi_table(values, gene=None, tissues=("a", "b", "c")) -> Psi:
    """One exon [100 i, 100 i + 10) each, plus strand."""
    n = len(values)
    start = np.arange(1, n + 1) * 100
    gene = np.array(gene or ["g"] * n, object)
    ones = np.ones(n, np.int8)
    return Psi("t", np.zeros(n, np.int64), start, start + 10, ones, gene, list(tissues), np.array(values, np.float32))


def keys_of(*sites) -> np.ndarray:
    return np.sort(np.array([pack(0, pos, 1, kind) for pos, kind in sites]))


def test_states_from_psi():
    nan = np.nan
    table = psi_table([[0.9, 0.0, nan], [0.07, 0.04, 0.11]])
    keys = keys_of((100, 1), (109, 0), (200, 1), (500, 0))
    found = site_tissues.from_psi(table, keys)
    assert found.state.tolist() == [[1, 0, -1], [1, 0, -1], [-1, 0, 1], [-1, -1, -1]]
    assert np.isnan(found.psi[3]).all() and found.psi[0, 0] == np.float32(0.9)


def test_a_site_of_two_exons_takes_the_higher_psi():
    table = psi_table([[0.0, 0.5, 0.0], [0.6, np.nan, 0.0]])
    table.start[:] = 100  # one acceptor, two donors
    assert site_tissues.from_psi(table, keys_of((100, 1))).state.tolist() == [[1, 1, 0]]


def test_cover_leaves_out_tissues_where_most_of_a_gene_is_silent():
    values = [[0.9, 0.9, 0.0], [0.9, 0.0, 0.0], [0.9, 0.0, 0.8], [0.0, 0.0, 0.0]]
    table, keys = psi_table(values), keys_of(*((100 * i, 1) for i in range(1, 5)))
    assert site_tissues.from_psi(table, keys).state.tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]]
    # of the three exons that are there in some tissue, one in b and one in c
    assert site_tissues.from_psi(table, keys, 0.5).state.tolist() == [[1, -1, -1]] * 3 + [[0, -1, -1]]
    assert site_tissues.from_psi(table, keys, 0.3).state.tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]]


def test_junctions_have_the_last_word():
    psi = SiteTissues(["a", "b"], np.array([[1, 0]], np.int8), np.array([[0.9, 0.0]], np.float32))
    reads = SiteTissues(["b", "c"], np.array([[1, -1]], np.int8), np.array([[0.5, np.nan]], np.float32))
    found = psi.joined(reads)
    assert found.names == ["a", "b", "c"] and found.state.tolist() == [[1, 1, -1]]
    assert np.nan_to_num(found.psi, nan=-1).tolist() == [[np.float32(0.9), 0.5, -1]]


JUNCTIONS = {  # three exons; the middle one is skipped in b, hardly read in c, and d has few reads at all
    "a": [(110, 200, 40), (210, 300, 40)],
    "b": [(110, 300, 40)],
    "c": [(110, 300, 40), (110, 200, 2), (210, 300, 2)],
    "d": [(110, 300, 5)],
}
GTF = """a	t	exon	{}	{}	.	+	.	gene_id "g"; transcript_id "t";
"""


def junction_world(folder: Path) -> list[str]:
    """A genome with one gene of three exons, and junctions of four tissues; the command line that labels it."""
    text = list("A" * 400)
    for donor in (110, 210):
        text[donor : donor + 2] = "GT"
    for acceptor in (200, 300):
        text[acceptor - 2 : acceptor] = "AG"
    (folder / "g.fa").write_text(">a\n" + "".join(text) + "\n")
    (folder / "g.gtf").write_text("".join(GTF.format(s + 1, e) for s, e in ((100, 110), (200, 210), (300, 320))))
    command = ["g.gtf", "--genome", "g.fa", "--recipe", "m2e", "-o", "s.parquet"]
    for tissue, introns in JUNCTIONS.items():
        lines = [f"a\t{s + 1}\t{e}\t1\t1\t1\t{n}\t0\t30\n" for s, e, n in introns]
        (folder / f"{tissue}.SJ.out.tab").write_text("".join(lines))
        command += ["--junctions", f"{tissue}={tissue}.SJ.out.tab"]
    return command


def test_states_from_junctions(run, tmp_path):
    run("ms-labels", *junction_world(tmp_path))
    check_file(Path("s.parquet"))
    stream = streams.open_table("s.parquet")
    table = stream.table()
    assert stream.metadata["tissue_names"] == ["a", "b", "c", "d"]
    found = dict(zip(table["pos"].to_pylist(), table["tissue_state"].to_pylist(), strict=True))
    assert found[109] == found[300] == [1, 1, 1, 1]
    assert found[200] == found[209] == [1, 0, -1, -1]  # 2 reads are neither; 5 reads of a gene do not make it expressed
    psi = dict(zip(table["pos"].to_pylist(), table["tissue_psi"].to_pylist(), strict=True))
    assert psi[200] == pytest.approx([1, 0, 2 / 42, 0])


def test_labels_of_tissues_need_evidence_of_tissues(run, tmp_path):
    command = junction_world(tmp_path)
    run("ms-labels", *command[: command.index("--junctions")], code=2, says="recipe m2e needs junction evidence")
    run("ms-labels", *command, "--junctions", "A=a.SJ.out.tab", code=1, says="rename")
    run("ms-labels", *command[:4], "m2", *command[5:])
    assert "tissue_state" not in streams.open_table("s.parquet").schema.names


def test_the_columns_come_back():
    state = np.array([[1, 0, -1], [-1, -1, -1], [0, 0, 1]], np.int8)
    psi = np.array([[0.5, 0, np.nan], [np.nan] * 3, [0, 0, 1]], np.float32)
    table = sites_table([("a", p, "+", "donor", 0, 0, 1.0) for p in (1, 2, 3)], [["a", 0, 9, "+", "g", True]])
    for form, values in SiteTissues(["x", "y", "z"], state, psi).columns():
        table = table.append_column(form, values)
    assert table["tissue_state"].null_count == 1
    found = site_tissues.of_table(table, ["x", "y", "z"], "t")
    np.testing.assert_array_equal(found.state, state)
    np.testing.assert_array_equal(found.psi, psi)
    with pytest.raises(MetaError, match="has not 2 entries"):
        site_tissues.of_table(table, ["x", "y"], "t")
    with pytest.raises(MetaError, match="no tissues, t; make the sites with ms-labels --recipe m2e"):
        site_tissues.of_table(table.drop_columns("tissue_psi"), ["x", "y", "z"], "t")


# ---- beside the shards ----------------------------------------------------------------------------------------------


def tissues_file(folder: Path):
    rows = [
        ("a", 100, "+", "donor", 0, 0, 1.0), ("a", 100, "+", "acceptor", 1, 1, 1.0), ("a", 150, "+", "acceptor", 0, 1, 1.0),
        ("a", 150, "-", "donor", 0, 0, 1.0), ("a", 170, "-", "acceptor", 0, 1, 1.0), ("a", 900, "+", "donor", 0, 0, 1.0),
        ("a", 180, "+", "donor", 0, 0, 1.0),
    ]  # fmt: skip
    table = sites_table(rows, [["a", 0, 1000, "+", "g", True]])
    state = np.array([[1, 0], [0, 0], [-1, 1], [0, 1], [1, 1], [1, 0], [-1, -1]], np.int8)
    found = SiteTissues(["x", "y"], state, np.zeros(state.shape, np.float32))
    split = parse(None, ("a:1-500",), ("a:501-800",), ("a:801-1000",))
    return shard_tissues.ShardTissues(
        folder, shard_tissues.write(folder, table, found, split, Contigs({"a": 1000}, "g"))
    )


def test_sites_by_tissue_of_a_region_in_transcript_orientation(tmp_path):
    found = tissues_file(tmp_path)
    assert "3 sites" not in check_file(tmp_path / "tissues.h5") and "4 sites" in check_file(tmp_path / "tissues.h5")
    plus = found.read(ShardRegion("f", 0, 150, "a", 50, 200, "+"), 0, 150)
    # of the two sites at 100 the lower tier; 180 is known nowhere
    assert [x.tolist() for x in plus] == [[50, 100], [0, 1], [[1, 0], [-1, 1]]]
    minus = found.read(ShardRegion("f", 0, 150, "a", 50, 200, "-"), 0, 150)
    assert [x.tolist() for x in minus] == [[29, 49], [1, 0], [[1, 1], [0, 1]]]
    for strand, whole in (("+", plus), ("-", minus)):
        region = ShardRegion("f", 0, 150, "a", 50, 200, strand)
        for low, high in itertools.combinations(range(-20, 170, 7), 2):
            at, site, state = found.read(region, low, high)
            mine = (whole[0] >= low) & (whole[0] < high)
            np.testing.assert_array_equal(at + low, whole[0][mine])
            np.testing.assert_array_equal(site, whole[1][mine])
            np.testing.assert_array_equal(state, whole[2][mine])
    # sites of the test part are not in the file
    assert len(found.read(ShardRegion("f", 0, 200, "a", 800, 1000, "+"), 0, 200)[0]) == 0


def test_a_changed_list_is_noticed(tmp_path):
    tissues_file(tmp_path)
    entry = {"name": "tissues.h5", "sha256": "0", "tissues": ["x", "y"]}
    with pytest.raises(MetaError, match="its sha256 is not that of the manifest"):
        shard_tissues.ShardTissues(tmp_path, entry)


def test_targets_of_a_tissue():
    label = np.array([2, 0, 1, 0, 2, 1], np.uint8)
    weight = np.array([1, 1, 0, 1, 0, 1], np.float32)  # 2 is masked as a whole, 4 is flank
    found = np.array([1, 2, 4, 5]), np.array([0, 1, 0, 0]), np.array([[1, 0], [1, -1], [1, 1], [1, 1]], np.int8)
    labels, weights = shard_tissues.targets(label, weight, found)
    # 3 is known in no tissue; at 4 there is no core; at 5 the labels show another kind
    assert labels.tolist() == [[2, 0, 1, 2, 2, 2], [2, 2, 2, 2, 2, 2]]
    assert weights.tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]]


# ---- profiles -------------------------------------------------------------------------------------------------------


def test_profiles_are_centred_and_scaled_over_the_tissues(tmp_path):
    (tmp_path / "p.tsv").write_text(
        "tissue\tRBFOX1\tSAME\tNOVA1\nLiver\t0\t3\t1\nBrain - Cortex\t2\t3\t5\nOther\t9\t9\t9\n"
    )
    kept = tissue_profiles.standardised(tissue_profiles.read(tmp_path / "p.tsv"), ["brain_cortex", "Liver"])
    assert kept["genes"] == ["RBFOX1", "NOVA1"] and kept["profiles"] == [[1, 1], [-1, -1]]
    assert kept["centre"] == [1, 3] and kept["scale"] == [1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t\tA\tA\nx\t1\t2\n", "gene A stands twice"),
        ("t\tA\tB\nx\t1\t\n", "'nothing' is no number, B of x"),
        ("t\tA\tB\nx\t1\tNaN\n", "'NaN' is no number, B of x"),
        ("t\tA\tB\nx\t1\n", "1 values of 2 for x"),
        ("t\tA\tB\n", "no profile"),
        ("t\tA\nx\t1\nX\t2\n", "rename one"),
    ],
)
def test_profiles_that_cannot_be_used(tmp_path, text, says):
    (tmp_path / "p.tsv").write_text(text)
    with pytest.raises(MetaError, match=says):
        tissue_profiles.read(tmp_path / "p.tsv")


def test_a_tissue_without_a_profile(tmp_path):
    (tmp_path / "p.tsv").write_text("t\tA\nx\t1\ny\t1\n")
    table = tissue_profiles.read(tmp_path / "p.tsv")
    with pytest.raises(MetaError, match="no profile of tissue 'z'"):
        tissue_profiles.standardised(table, ["x", "z"])
    with pytest.raises(MetaError, match="no gene differs"):
        tissue_profiles.standardised(table, ["x", "y"])
    with pytest.raises(MetaError, match="no gene B"):
        table.of(["x"], ["A", "B"])


# ---- within a site --------------------------------------------------------------------------------------------------


def test_ranking_within_a_site_against_scikit_learn():
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(1)
    state = rng.choice([ACTIVE, INACTIVE, UNKNOWN], (200, 9)).astype(np.int8)
    state = state[tissue_ranking.telling(state)]
    score = rng.permuted(np.tile(np.arange(9, dtype=np.float32), (len(state), 1)), axis=1)
    ap = tissue_ranking.average_precision(score, state)
    tied = score // 3
    auc = tissue_ranking.auc(tied, state)
    for i, row in enumerate(state):
        known = row != UNKNOWN
        assert ap[i] == pytest.approx(average_precision_score(row[known] == 1, score[i, known]))
        assert auc[i] == pytest.approx(roc_auc_score(row[known] == 1, tied[i, known]))


def test_tissues_of_one_score_stand_in_any_order():
    state = np.array([[1, 0, 1, 0, -1, 1]], np.int8)
    for score in ([3, 3, 3, 1, 3, 1], [2, 2, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 0, 2, 0, 1]):
        mean = []
        for order in itertools.permutations(np.linspace(0, 0.5, 6)):
            broken = np.array([score]) + np.array([order])
            mean.append(tissue_ranking.average_precision(broken, state)[0])
        assert tissue_ranking.average_precision(np.array([score]), state)[0] == pytest.approx(np.mean(mean))


def test_chance_is_the_mean_over_all_orders():
    for row in ([1, 0, 0, -1], [1, 1, 0, 0, 0], [1, 1, 1, 0]):
        state = np.array([row], np.int8)
        orders = np.array(list(itertools.permutations(range(len(row)))), np.float32)
        each = tissue_ranking.average_precision(orders, np.repeat(state, len(orders), axis=0))
        assert tissue_ranking.chance(state)[0] == pytest.approx(each.mean())


def test_one_score_for_all_tissues_is_chance():
    state = np.array([[1, 0, 0, -1, 1], [1, 1, 1, 0, -1]], np.int8)
    ones = np.ones(state.shape, np.float32)
    assert tissue_ranking.average_precision(ones, state) == pytest.approx(tissue_ranking.chance(state))
    assert tissue_ranking.auc(ones, state).tolist() == [0.5, 0.5]


def test_activity_of_tissues_is_of_telling_sites():
    state = np.array([[1, 0, -1], [1, 0, 1], [1, 1, 1], [0, 0, -1]], np.int8)
    assert tissue_ranking.activity(state) == pytest.approx([2.5 / 3, 0.5 / 3, 1.5 / 2])


def test_lists_of_another_length_are_refused():
    column = pa.chunked_array([pa.array([[1, 0], None], pa.list_(pa.int8()))])
    assert site_tissues._matrix(column, 2, -1, np.int8, "t").tolist() == [[1, 0], [-1, -1]]
