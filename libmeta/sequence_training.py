"""Train a sequence model on shards, from first window to saved model. The loop is `fit`; read it from top to bottom.

What an epoch sees follows from seed and epoch alone, and the whole state is kept after each one: a run that was
interrupted ends, on a CPU, in the same weights as one that was not.
"""

import logging
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from libmeta import __version__, encode, label_gaps, models, pull, starting_blend, tissue_training
from libmeta.bootstrap import MINIMUM_GENES
from libmeta.checkpoint import link as softmax
from libmeta.encode import SMALLEST, probabilities
from libmeta.errors import USAGE, MetaError
from libmeta.losses import LOSSES
from libmeta.models.folded import Folded
from libmeta.recipes import SequenceRecipe
from libmeta.sequence_validation import ANNOTATED, COUNTED, Judged, chance_of_gain, judge, merged, of_base, tiles
from libmeta.shards import Shards
from libmeta.tissue_training import TissueTask
from libmeta.train import SURE_GAIN, held_out_gain
from libmeta.training_batches import batches, window_sampler
from libmeta.windows import WindowSampler, sampling_ratio
from libmeta.workers import Workers

log = logging.getLogger("libmeta")
AVERAGE = 0.98  # decay of the running mean of the weights, which is what is judged and saved


@dataclass
class Run:
    """What a training has reached: networks, optimiser, epochs done, history, the best weights so far."""

    network: torch.nn.Module
    average: torch.optim.swa_utils.AveragedModel
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    epoch: int = 0
    history: list[dict] = field(default_factory=list)
    best: dict | None = None  # state of the average at the best epoch


@dataclass
class Outcome:
    """state: weights by name. is_base: nothing was gained, the model is the best of the base models: number `base`.
    history: one entry per epoch. prior: log-probabilities of the classes at true prevalence. tissues: what the model keeps
    of them. config: settings of the network, where they are not those it was trained with.
    """

    state: dict
    is_base: bool
    base: int
    history: list[dict]
    summary: dict
    prior: list[float]
    tissues: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)


def choose(shards: Shards, recipe: SequenceRecipe, base: list[str] | None, without: tuple[str, ...]) -> None:
    """Narrow the shards to the base models and channels that are asked for.

    Raises MetaError for a base model or modality that is not there, shards labelled for another recipe, and a channel of
    the target's own modality.
    """
    manifest = shards.manifest
    base = [b.strip() for b in base] if base else None
    if not shards.base_names:
        raise MetaError(f"no base scores, {shards.folder}; make them with ms-features --dense where ms.toml names some")
    if base and len(set(base)) < len(base):
        raise MetaError(f"a base model named twice, --base {','.join(base)}; name each once", USAGE)
    if manifest["recipe"] != recipe.labels:
        raise MetaError(
            f"labels of {manifest['recipe']}, {shards.folder}, but {recipe.name} needs those of {recipe.labels}; make the "
            f"shards with ms-shard --recipe {recipe.name}"
        )
    if lacking := [b for b in base or () if b not in shards.base_names]:
        raise MetaError(
            f"no base model {lacking[0]}, {shards.folder}; there are {', '.join(shards.base_names) or 'none'}", USAGE
        )
    there = encode.modalities(shards.channels)
    if lacking := [n for n in without if n not in there]:
        raise MetaError(f"no channel of {lacking[0]} to leave out, {shards.folder}; there are {there or 'none'}", USAGE)
    kept = [c for c in shards.channels if c["modality"] not in without]
    if same := [c["name"] for c in kept if c["modality"] == recipe.evidence]:
        raise MetaError(
            f"channel {same[0]} comes from {recipe.evidence}, the modality of the target of {recipe.name}: it would be the "
            f"label in disguise; add --without {recipe.evidence}"
        )
    dropped = sorted({c["modality"] for c in kept if c["modality"] not in recipe.uses})
    if dropped:
        log.info("%s does not use the channels of %s", recipe.name, ", ".join(dropped))
    kept = [c["name"] for c in kept if c["modality"] in recipe.uses and c["name"] not in recipe.leaves_out]
    shards.take(base or shards.base_names, kept)


def configure(shards: Shards, recipe: SequenceRecipe, tissues: dict | None = None) -> dict:
    """Settings of the recipe's network for what the shards hold, and for tissues (of tissue_training.settings).

    Raises MetaError where their flanks are too short.
    """
    wanted = {
        **recipe.network,
        **(tissue_training.network(tissues) if tissues else {}),
        "base_models": len(shards.base_names),
        "channels": len(shards.channels),
        "masks": len(encode.modalities(shards.channels)),
    }
    network = models.build(recipe.kind, wanted)
    if network.context > shards.flank:
        raise MetaError(
            f"flanks of {shards.flank:,} bp, {shards.folder}, but the network sees {network.context:,} on each side; make them "
            f"with ms-features --dense --flank {network.context}"
        )
    return network.config.to_dict()


def key(
    shards: Shards,
    recipe: SequenceRecipe,
    config: dict,
    seed: int,
    dtype: str,
    workers: Workers,
    tissues: dict | None = None,
) -> dict:
    """What a training follows from."""
    by_tissue = {"tissues": tissues, "states": shards.manifest["tissues"]} if tissues else {}
    return {
        **by_tissue,
        "shards": [[f["name"], f["sha256"]] for f in shards.manifest["files"]],
        "base": shards.base_names,
        "channels": shards.channels,
        "recipe": repr(recipe),
        "config": config,
        "seed": seed,
        "dtype": dtype,
        "workers": workers.count,
        "version": __version__,
        "history": 2,  # what its entries have
    }


def fit(
    shards: Shards, recipe: SequenceRecipe, config: dict, seed: int, dtype: str, workers: Workers, keeper, tell,
    tissues: dict | None = None,
) -> Outcome:  # fmt: skip
    """Train, validate after each epoch, keep the best epoch, and fall back on the base where nothing was gained.

    config: of the network (see models.build). dtype: float32, or bfloat16 for the products of training. keeper: keeps and
    restores the Run (see libmeta.training_state). tell: called with (epoch, batches done, loss) and, after
    validation, with the history. tissues: of a recipe with tissues (see tissue_training.settings).
    """
    torch.manual_seed(seed)
    network = models.build(recipe.kind, config).to(workers.device)
    regions = shards.regions("train"), shards.regions("valid")
    check(shards, recipe)
    task = None
    if tissues:
        task = TissueTask(shards, tissues, recipe.tissues_per_window, network.config.by_head)
    sampler = window_sampler(shards, recipe, seed, task)

    def labels(i: int) -> tuple[np.ndarray, np.ndarray]:
        return (task or shards).labels(regions[0][i], *sampler.spans[i])

    ratio, true_share = sampling_ratio(sampler, labels)
    about_loss = loss_settings(shards, recipe, sampler, labels, ratio, true_share)
    offset = torch.tensor(np.log(ratio), dtype=torch.float32, device=workers.device)
    batch = max(recipe.batch // workers.count, 1)
    steps = max(recipe.windows // (batch * workers.count), 1)
    starting_blend.fit(network.blend, shards, seed)
    run = start(network, recipe, steps)
    keeper.restore(run)
    if len(set(workers.gather(run.epoch))) > 1:
        raise MetaError("the processes do not see the same training state; keep the output on a disk that all share")
    wrapped = workers.wrap(network)
    loss_of = LOSSES[recipe.loss]
    bases = [judged(shards, regions[1], of_base(k), 0, workers, task) for k in range(len(shards.base_names))]
    if None in bases[0].aps():
        raise MetaError(f"no validation site has a base score, {shards.folder}; score those regions, or choose others")
    for name, found in zip(shards.base_names, bases, strict=True):
        log.info("validation: macro AP %.4f of base model %s", found.macro_ap(), name)
    log.info("sampling takes sites %.1f times as often as they are", ratio[:2].mean())
    # where annotated sites are the target, those that the recipe masks are sites too
    aims = (COUNTED, ANNOTATED) if recipe.evidence == "annotation" and task is None else (COUNTED,)
    best_base = int(np.argmax([found.aim(aims) for found in bases]))  # what has to be passed
    base = bases[best_base]
    floor = base.aim(aims)

    def validate(**told) -> None:
        """Judge the averaged weights, keep them if they are the best so far, and the state."""
        workers.agree(run.average.module.buffers())
        score = scorer(run.average.module, shards, workers, task)
        found = judged(shards, regions[1], score, network.context, workers, task)
        entry = {
            "epoch": run.epoch,
            "valid_macro_ap": found.macro_ap(),
            "valid_ap": found.aps(),
            "valid_tiers": {str(t): found.macro_ap(which=t) for t in found.tiers()},
            "valid_aim": found.aim(aims),
            "valid_halves": [found.aim(aims, 0), found.aim(aims, 1)],
            "chance_of_gain": chance_of_gain(found, base, len(tiles(regions[1])), seed, aims),
            "base_macro_ap": base.macro_ap(),
            "base_aim": floor,
            **(found.told() if task else {}),
            **told,
        }
        if entry["valid_aim"] > max([floor, *(e["valid_aim"] for e in run.history)]):
            run.best = {k: v.clone() for k, v in run.average.module.state_dict().items()}
        run.history.append(entry)
        keeper.keep(run)
        tell(run.history)

    if (
        not run.history and len(shards.base_names) > 1
    ):  # several base models weighed against each other may be all there is
        validate(loss=None, windows_per_second=None, seconds=None)

    while run.epoch < recipe.epochs and not out_of_patience(run.history, recipe.patience):
        torch.manual_seed(int(np.random.SeedSequence((seed, run.epoch, workers.rank)).generate_state(1)[0]))
        started, losses = time.monotonic(), []
        wrapped.train()
        for inputs, label, weight in batches(
            shards, sampler, recipe, network.context, run.epoch, batch, steps, seed, workers, task
        ):
            with torch.autocast(workers.device.split(":")[0], torch.bfloat16, enabled=dtype == "bfloat16"):
                logits = wrapped(*inputs)
            loss = loss_of(logits.float() + offset, label, weight, **about_loss)
            run.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            run.optimiser.step()
            run.schedule.step()
            follow(run.average, network)
            losses.append(float(loss.detach()))
            if not np.isfinite(losses[-1]):
                raise MetaError(
                    f"the loss is no number, epoch {run.epoch + 1}; use --dtype float32, or a recipe with a lower learning_rate"
                )
            tell(run.epoch, len(losses), losses[-1])
        trained = time.monotonic() - started
        run.epoch += 1
        rate = len(losses) * batch * workers.count / trained
        validate(loss=float(np.mean(losses)), windows_per_second=rate, seconds=trained)
    found = outcome(run, best_base, base, aims, true_share)
    found.summary |= about_loss
    if not found.is_base and len(aims) > 1 and network.blend.base_models:
        run.average.module.load_state_dict(found.state)
        score = scorer(run.average.module, shards, workers)
        chosen = pull.find(shards, regions[1], score, network.context, bases, aims, seed, workers)
        found.config = {"pull": chosen.pull.share, "pull_to": chosen.pull.to}
        found.summary |= {"pull": vars(chosen.pull), "valid_strata": chosen.strata}
    if task:
        best = best_entry(run.history)
        found.summary |= {"within_site": best["within_site"], "blind_macro_ap": best["blind_macro_ap"]}
        found.tissues = {**tissues, "activity": [round(float(x), 4) for x in task.activity]}
    return found


def loss_settings(shards: Shards, recipe: SequenceRecipe, sampler: WindowSampler, labels, ratio, true_share) -> dict:
    """What the recipe's loss has to know beside logits and labels; the log tells it."""
    if recipe.loss != "nnpu":
        return {}
    gaps = label_gaps.estimate(shards)
    prior, hidden = label_gaps.as_sampled(gaps, sampler, labels, ratio, true_share)
    log.info(
        "of the true donors %.1f %% are annotated, of the acceptors %.1f %% (validation regions, by the base model): a share "
        "of %.2e and %.2e of all positions is taken to be sites", *(100 * gaps.found), *gaps.prior,
    )  # fmt: skip
    return {"prior": prior, "hidden": hidden, "annotated": tuple(gaps.found.tolist())}


def best_entry(history: list[dict]) -> dict:
    """The epoch that does best what the recipe aims at."""
    return max(history, key=lambda e: e["valid_aim"])


def outcome(run: Run, which: int, base: Judged, aims: tuple, true_share: np.ndarray) -> Outcome:
    """The best epoch, if its gain over the best base model, number `which`, is sure; else that base model.

    Sure: above the base in most bootstrap draws of the validation tiles (there must be enough of them), and also where the
    epoch is chosen on one half of them and looked at on the other.
    """
    floor = base.macro_ap()
    best = best_entry(run.history)
    halves = np.array([[np.nan_to_num(v) for v in e["valid_halves"]] for e in run.history])
    unbiased = held_out_gain(halves, np.nan_to_num([base.aim(aims, 0), base.aim(aims, 1)]))
    gained = run.best is not None and best["chance_of_gain"] >= SURE_GAIN and unbiased > 0
    if not gained:
        log.warning(
            "no sure gain on validation (best epoch %+.4f, above the base in %.0f %% of bootstrap draws, %+.4f where the epoch "
            "was chosen on the other half): the model saved is the base model",
            best["valid_aim"] - base.aim(aims), 100 * best["chance_of_gain"], unbiased,
        )  # fmt: skip
    summary = {
        "best_epoch": best["epoch"] if gained else None,
        "valid_macro_ap": {"start": floor, "model": best["valid_macro_ap"] if gained else floor},
        "chance_of_gain": best["chance_of_gain"],
        "held_out_gain": unbiased,
    }
    state = run.best if gained else {}
    prior = np.log(np.clip(true_share, SMALLEST, 1)).tolist()
    return Outcome(state, not gained, which, run.history, summary, prior)


def start(network: torch.nn.Module, recipe: SequenceRecipe, steps: int) -> Run:
    """A Run at its beginning: AdamW without decay on norms, biases and blend; warm-up, then a cosine to zero."""
    matrices, vectors = models.decayed(network)
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, recipe.learning_rate)
    total = max(recipe.epochs * steps, 1)
    warm = max(int(recipe.warm_up * total), 1)

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min((step - warm) / max(total - warm, 1), 1)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    mean = torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=mean)
    return Run(network, average, optimiser, schedule)


def follow(average: torch.optim.swa_utils.AveragedModel, network: torch.nn.Module) -> None:
    """Take the network's weights into the running mean, and what its norms have seen; constants stay as they are."""
    average.update_parameters(network)
    kept = average.module.state_dict().keys()
    for (name, mine), theirs in zip(average.module.named_buffers(), network.buffers(), strict=True):
        if name in kept and mine.is_floating_point() and average.n_averaged > 1:
            mine.lerp_(theirs, 1 - AVERAGE)
        else:
            mine.copy_(theirs)


def out_of_patience(history: list[dict], patience: int) -> bool:
    """Whether the best epoch lies `patience` or more epochs back."""
    aps = [e["valid_aim"] for e in history]
    return bool(aps) and len(aps) - 1 - int(np.argmax(aps)) >= patience


def check(shards: Shards, recipe: SequenceRecipe) -> None:
    """Each part needs regions and sites of both kinds."""
    for part, word in (("train", "training"), ("valid", "validation")):
        _, _, label = shards.sites(part)
        donors, acceptors = int((label == 0).sum()), int((label == 1).sum())
        regions = shards.regions(part)
        if not regions or not min(donors, acceptors):
            raise MetaError(
                f"{len(regions)} {word} regions with {donors} donors and {acceptors} acceptors for {recipe.name}, "
                f"{shards.folder}; give ms-shard more regions, or choose --train and --valid so that each has some"
            )
        log.info("%s: %d regions, %d donors, %d acceptors", word, len(regions), donors, acceptors)
    if len(tiles(shards.regions("valid"))) < MINIMUM_GENES:
        log.warning(
            "fewer than %d validation tiles: no gain can be sure, and the model will be the base", MINIMUM_GENES
        )


def scorer(network: torch.nn.Module, shards: Shards, workers: Workers, task: TissueTask | None = None):
    """A function of a Shards.read with context -> probabilities float32 (n, 3), by the network as it is now.

    With a task they are (T, n, 3), of every tissue.
    """
    folded = Folded(network, device=workers.device, threads=torch.get_num_threads())

    def score(part: dict) -> np.ndarray:
        encoded = encode.encode(part["sequence"], part["base"], part["channels"], shards.channels)
        if task is None:
            return softmax(folded(*encoded.arrays()))
        if task.by_head:
            return probabilities(folded(*encoded.arrays(), task.inputs))
        return np.stack([probabilities(folded(*encoded.arrays(), tissue)) for tissue in task.inputs])

    return score


def judged(
    shards: Shards, regions: list, score, context: int, workers: Workers, task: TissueTask | None = None
) -> Judged:
    """judge() by all processes together."""
    share = regions, score, context, workers.rank, workers.count
    return merged([task.judge(*share) if task else judge(shards, *share)], workers)[0]
