"""Picture of a training: loss, and validation AP beside the base model, by epoch."""

from pathlib import Path

from libmeta.errors import MetaError
from libmeta.streams import atomic


def draw(history: list[dict], best_epoch: int | None, title: str, path: Path) -> None:
    """Write a PNG. Raises MetaError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MetaError("no matplotlib for the training plot; pip install 'ms-tools[report]'") from error
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [e["epoch"] for e in history]
    trained = [e for e in history if e["epoch"]]
    left.plot([e["epoch"] for e in trained], [e["loss"] for e in trained], "o-", color="#1b6ca8", markersize=3)
    left.set(xlabel="epoch", ylabel="training loss", title=title)
    right.plot(epochs, [e["valid_macro_ap"] for e in history], "o-", color="#1b6ca8", markersize=3, label="refined")
    right.axhline(history[0]["base_macro_ap"], color="#b0532b", linestyle="--", label="base model")
    if any(e["valid_aim"] != e["valid_macro_ap"] for e in history):
        # the mean with all annotated sites, which the epoch is chosen by
        aims = [e["valid_aim"] for e in history]
        right.plot(epochs, aims, "s-", color="#5a9e6f", markersize=3, label="refined, all sites too")
        right.axhline(history[0]["base_aim"], color="#c9a227", linestyle=":", label="base model, all sites too")
    if best_epoch is not None:
        right.axvline(best_epoch, color="#999999", linewidth=0.8, label=f"saved: epoch {best_epoch}")
    right.set(xlabel="epoch", ylabel="macro AP", title="validation, true prevalence")
    right.legend(frameon=False, fontsize=8)
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
