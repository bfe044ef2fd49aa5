"""Train a position model: stream -> spool -> quantised matrix -> trees on top of the base model -> calibration."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import xgboost

from libmeta import schema
from libmeta.checkpoint import PositionModel, link, starting_margin
from libmeta.errors import MetaError
from libmeta.labels import assign_labels, column
from libmeta.metrics import average_precision, make_curve
from libmeta.recipes import PositionRecipe
from libmeta.split import TEST, TRAIN, UNUSED, VALID, Split
from libmeta.spool import Pieces, Spool, with_prior

log = logging.getLogger("libmeta")
BASE_COLUMNS = ("base_scores.donor_score", "base_scores.acceptor_score")
SURE_GAIN = 0.75  # share of bootstrap draws over validation rows in which the trees must be above the base
KNOWN = 4  # validation rows of annotated sites: only looked at where there is no novel one


def choose_columns(form: pa.Schema, recipe: PositionRecipe) -> list[str]:
    """Feature columns that a recipe takes from a stream.

    Raises MetaError where the stream holds a feature of the target's own modality, or none that the recipe uses.
    """
    found = [f for f in form if schema.role(f) == "feature"]
    same = [f.name for f in found if schema.modality(f) == recipe.evidence]
    if same:
        raise MetaError(
            f"feature {same[0]} (of {len(same)}) comes from {recipe.evidence}, the modality of the target of "
            f"{recipe.name}: it would be the label in disguise; make the features with --modalities "
            f"all-but-{recipe.evidence}"
        )
    dropped = sorted({schema.modality(f) for f in found if schema.modality(f) not in recipe.uses})
    if dropped:
        log.info("%s does not use the features of %s", recipe.name, ", ".join(dropped))
    taken = [f.name for f in found if schema.modality(f) in recipe.uses]
    for name in [n for n in taken if n in recipe.leaves_out]:
        log.info("%s leaves out %s: %s", recipe.name, name, recipe.leaves_out[name])
    taken = [n for n in taken if n not in recipe.leaves_out]
    if not taken:
        raise MetaError(f"no feature that {recipe.name} uses in the stream; make some of {', '.join(recipe.uses)}")
    return taken


def matrix(batch: pa.RecordBatch, names: list[str]) -> np.ndarray:
    """Feature columns as float32 (rows, columns), NaN for null; MetaError for an infinite value."""
    out = np.empty((batch.num_rows, len(names)), np.float32)
    for i, name in enumerate(names):
        out[:, i] = batch.column(batch.schema.get_field_index(name)).to_numpy(zero_copy_only=False)
    if np.isinf(out).any():
        bad = names[int(np.flatnonzero(np.isinf(out).any(axis=0))[0])]
        raise MetaError(f"infinite value, feature {bad}; mend its source track")
    return out


def base_probabilities(batch: pa.RecordBatch) -> np.ndarray | None:
    """(rows, 2) of the primary base model, or None where the stream has none."""
    if any(c not in batch.schema.names for c in BASE_COLUMNS):
        return None
    return matrix(batch, list(BASE_COLUMNS))


def fill(
    stream,
    recipe: PositionRecipe,
    split: Split,
    names: list[str],
    options: dict,
    start: str,
    folder: Path,
    bar,
) -> dict:
    """Spool the rows of a stream: {TRAIN: Spool, VALID: Spool}; test rows, masked rows and the rest are counted."""
    shell = PositionModel(None, recipe.name, recipe.target, names, start, [], 0)
    shell.prior = [float("nan")] * shell.outputs  # filled in when the class frequencies are known
    targets = 2 if recipe.target == "psi" else 1
    spools = {
        part: Spool(folder / f"{part}.rows", len(names), targets, shell.outputs) for part in (TRAIN, VALID, KNOWN)
    }
    counts = {"rows": 0, "masked": 0, "outside": 0}
    seen: dict = {key: {} for key in spools}
    needed = ("label.site", "label.tier", "label.reads", "label.psi", "label.measured")
    if lacking := [c for c in needed if c not in stream.schema.names]:
        raise MetaError(
            f"no labels ({lacking[0]}), {stream.name}; name an [annotation] in ms.toml or pipe sites into ms-features"
        )
    for batch in stream:
        target, weight, known = assign_labels(batch, recipe, options)
        part = np.full(batch.num_rows, TRAIN)
        chroms, positions = batch.column("chrom").to_numpy(zero_copy_only=False), column(batch, "pos")
        for chrom in dict.fromkeys(chroms):
            here = chroms == chrom
            part[here] = split.assign(chrom, positions[here])
        part[(part == VALID) & known] = KNOWN
        margin = starting_margin(shell, base_probabilities(batch), batch.num_rows)
        x, weight = matrix(batch, names), weight * column(batch, "weight")
        counts["rows"] += batch.num_rows
        counts["masked"] += int((weight == 0).sum())
        counts["outside"] += int((((part == TEST) | (part == UNUSED)) & (weight > 0)).sum())
        for key, spool in spools.items():
            rows = (part == key) & (weight > 0)
            _widen(seen[key], chroms[rows], positions[rows])
            spool.append(x[rows], target[rows], margin[rows], weight[rows])
        bar.update(batch.num_rows)
    spans = {word: [[c, *ends] for c, ends in seen[key].items()] for key, word in ((TRAIN, "train"), (VALID, "valid"))}
    return {**spools, "counts": counts, "seen": spans}


def _widen(spans: dict, chroms: np.ndarray, positions: np.ndarray) -> None:
    """Stretch {contig: [first, one past last]} over these rows."""
    for chrom in dict.fromkeys(chroms):
        here = positions[chroms == chrom]
        low, high = spans.get(chrom, (np.inf, 0))
        spans[chrom] = [int(min(low, here.min())), int(max(high, here.max() + 1))]


def site_aps(target: np.ndarray, weight: np.ndarray, p: np.ndarray) -> list[float]:
    """Average precision of donor and acceptor at true prevalence; a kind without positives is left out.

    target (n, 1) class, or (n, 2) PSI, of which >= 0.05 counts as a site; p (n, >= 2).
    """
    found = []
    for k in (0, 1):
        positive = target[:, 0] == k if target.shape[1] == 1 else target[:, k] >= 0.05
        found.append(average_precision(make_curve(p[:, k], weight * positive, weight * ~positive)))
    return [ap for ap in found if ap is not None]


def macro_ap(target: np.ndarray, weight: np.ndarray, p: np.ndarray) -> float:
    """Mean of site_aps."""
    found = site_aps(target, weight, p)
    return float(np.mean(found)) if found else float("nan")


def chance_of_gain(target, weight, base: np.ndarray, model: np.ndarray, seed: int, draws: int = 200) -> float:
    """Share of bootstrap draws over validation rows (paired) in which the model's macro AP is above the base's."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(_matters(target, base) | _matters(target, model))
    target, weight, base, model = target[rows], weight[rows], base[rows], model[rows]
    gains = []
    for _ in range(draws):
        times = rng.poisson(1.0, len(weight))
        gains.append(macro_ap(target, weight * times, model) - macro_ap(target, weight * times, base))
    return float(np.mean(np.array(gains) > 0))


def check_parts(spools: dict, recipe: PositionRecipe) -> None:
    """Each part needs sites of both kinds; without novel ones, validation falls back on annotated ones, and says so."""
    if not min(_kinds(spools[VALID])) and min(_kinds(spools[KNOWN])):
        log.warning("no novel site of each kind in the validation regions: rounds are chosen on annotated ones")
        for piece in spools[KNOWN].pieces():
            spools[VALID].append(*piece)
    for key, word in ((TRAIN, "training"), (VALID, "validation")):
        donors, acceptors = _kinds(spools[key])
        if not min(donors, acceptors):
            raise MetaError(
                f"{spools[key].rows:,} {word} rows with {donors} donors and {acceptors} acceptors for {recipe.name}; give "
                "more regions, or choose --train and --valid so that each has some"
            )
        log.info("%s: %s rows, %d donors, %d acceptors", word, f"{spools[key].rows:,}", donors, acceptors)


def _kinds(spool: Spool) -> list[int]:
    """Rows that are donors, and acceptors."""
    found = [0, 0]
    for _, y, _, _ in spool.pieces():
        for k in (0, 1):
            found[k] += int((y[:, 0] == k).sum() if y.shape[1] == 1 else (y[:, k] > 0).sum())
    return found


def fit(
    spools: dict, recipe: PositionRecipe, names: list[str], start: str, seed: int, threads: int, tick
) -> PositionModel:
    """Boost with early stopping on the validation macro AP, keep the trees if their gain is sure, calibrate.

    tick: called after each round.
    """
    target, weight = spools[VALID].targets()
    prior = class_prior(spools[TRAIN], recipe)
    margins = np.concatenate([with_prior(m, prior) for _, _, m, _ in spools[VALID].pieces()])
    model = PositionModel(None, recipe.name, recipe.target, names, start, prior, 0)
    train = xgboost.QuantileDMatrix(Pieces(spools[TRAIN], prior), nthread=threads)
    valid = xgboost.QuantileDMatrix(Pieces(spools[VALID], prior), nthread=threads, ref=train)
    objective = {"objective": "reg:logistic"} if model.outputs == 2 else {"objective": "multi:softprob", "num_class": 3}
    params = {**recipe.params, **objective, "tree_method": "hist", "seed": seed, "nthread": threads,
              "disable_default_eval_metric": 1}  # fmt: skip

    half = np.random.default_rng(seed).random(len(target)) < 0.5
    in_halves: list[list[float]] = []

    def of_halves(p: np.ndarray) -> list[float]:
        return [macro_ap(target[h], weight[h], p[h]) for h in (half, ~half)]

    def metric(predicted: np.ndarray, _) -> tuple[str, float]:
        p = predicted.reshape(len(target), -1)
        in_halves.append(of_halves(p))
        return "macro_ap", macro_ap(target, weight, p)

    history: dict = {}
    model.booster = xgboost.train(
        params, train, num_boost_round=recipe.rounds, evals=[(valid, "valid")], custom_metric=metric, evals_result=history,
        callbacks=[_Tick(tick), xgboost.callback.EarlyStopping(rounds=recipe.patience, maximize=True, metric_name="macro_ap",
                                                               data_name="valid")],
        verbose_eval=False,
    )  # fmt: skip
    rounds = model.booster.best_iteration + 1
    logits = model.booster.predict(valid, output_margin=True, iteration_range=(0, rounds))
    logits = logits.reshape(len(target), -1).astype(np.float64)
    start_logits = margins.astype(np.float64)
    chance = chance_of_gain(target, weight, link(start_logits), link(logits), seed)
    unbiased = held_out_gain(np.array(in_halves), np.array(of_halves(link(start_logits))))
    gained = chance >= SURE_GAIN and unbiased > 0
    if not gained:
        log.warning(
            "no sure gain on validation (%+.4f where rounds were chosen on the other half; above in %.0f %% of bootstrap "
            "draws): the model saved is the %s, calibrated", unbiased, 100 * chance,
            "base model" if start == "base" else "prior",
        )  # fmt: skip
    model.trees = rounds if gained else 0
    kept = logits if gained else start_logits
    model.temperature = temperature(target, weight, kept)
    model.training = {
        "params": {k: v for k, v in params.items() if k != "nthread"},
        "rounds": model.trees,
        "chance_of_gain": chance,
        "held_out_gain": unbiased,
        "valid_macro_ap": {
            "start": macro_ap(target, weight, link(start_logits)),
            "model": macro_ap(target, weight, link(kept)),
        },
        "history": history["valid"]["macro_ap"],
    }
    return model


def _matters(target: np.ndarray, p: np.ndarray, times: int = 200) -> np.ndarray:
    """Rows that average precision can depend on: all sites, and the negatives that rank highest (200 for each site)."""
    found = np.zeros(len(p), bool)
    for k in (0, 1):
        positive = target[:, 0] == k if target.shape[1] == 1 else target[:, k] > 0
        keep = min(len(p), (times + 1) * max(int(positive.sum()), 1))
        found[np.argpartition(-p[:, k], keep - 1)[:keep]] = True
        found |= positive
    return found


def held_out_gain(history: np.ndarray, start: np.ndarray) -> float:
    """Gain in macro AP with the rounds chosen on one half of the validation rows and measured on the other, averaged.

    history: (rounds, 2) macro AP in each half after each round; start: (2,) before the first. Free of the bias of
    choosing the best of many rounds on the rows that are then looked at.
    """
    return float(np.mean([history[np.argmax(history[:, 1 - h]), h] - start[h] for h in (0, 1)]))


def class_prior(spool: Spool, recipe: PositionRecipe) -> list[float]:
    """Log-probabilities (or logits, PSI) of the classes at true prevalence: where trees start without base scores."""
    target, weight = spool.targets()
    total = weight.sum()
    if recipe.target == "psi":
        p = np.clip((target * weight[:, None]).sum(axis=0) / total, 1e-7, 1 - 1e-7)
        return np.log(p / (1 - p)).tolist()
    p = np.array([weight[target[:, 0] == k].sum() / total for k in range(3)])
    return np.log(np.clip(p, 1e-7, 1)).tolist()


def temperature(target: np.ndarray, weight: np.ndarray, logits: np.ndarray) -> float:
    """The T in [0.2, 5] that minimises the weighted log-loss of logits / T (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        p = np.clip(link(logits / np.exp(log_t)), 1e-12, 1)
        if target.shape[1] == 1:
            return -(weight * np.log(p[np.arange(len(p)), target[:, 0].astype(int)])).sum()
        q = np.clip(p[:, :2], 1e-12, 1 - 1e-12)
        return -(weight[:, None] * (target * np.log(q) + (1 - target) * np.log(1 - q))).sum()

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.2), np.log(5)), method="bounded").x))


class _Tick(xgboost.callback.TrainingCallback):
    def __init__(self, tick):
        self.tick = tick

    def after_iteration(self, model, epoch, evals_log):
        self.tick()
        return False
