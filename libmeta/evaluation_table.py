"""The metrics document as text: a fixed-width table base versus refined, and a MultiQC custom-content
section.
"""

from libmeta.truth import SITES

NAMES = {"base": "base", "meta": "refined"}


def number(value, digits: int = 4) -> str:
    """A value for a table: thousands separators for counts, fixed digits for shares, - for none."""
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    if value and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def count(value) -> str:
    """A weighted count, to the nearest whole."""
    return "-" if value is None else f"{value:,.0f}"


def percent(value) -> str:
    """A reduction or share in percent, signed."""
    return "-" if value is None else f"{value:+.1f} %"


def _at(entry: dict, *path):
    for key in path:
        entry = entry.get(key) if isinstance(entry, dict) else None
    return entry


def headline(metrics: dict) -> list[dict]:
    """Rows of the headline table: label, class, base, meta, change (text each; base and change "" without a
    base model).
    """
    rows = []
    overall = metrics["overall"]

    def add(label, name, path, form=number, change="difference"):
        base, meta = (_at(overall, name, model, *path) for model in ("base", "meta"))
        if meta is None and base is None:
            return
        told = ""
        if None not in (base, meta):
            told = f"{meta - base:+.4f}" if change == "difference" else ""
        if change == "percent" and base:
            told = percent(100 * (meta - base) / base)
        rows.append({"label": label, "class": name, "base": form(base), "meta": form(meta), "change": told})

    for name in (*SITES, "macro"):
        add("AP", name, ("ap",))
    for name in SITES:
        add("top-k", name, ("top_k", "1"))
    for name in SITES:
        add("lift", name, ("lift",), lambda v: number(v, 1), "percent")
    for name in SITES:
        add("recall at base's precision", name, ("recall_at_base_precision",))
    for kind, what in (("same_precision", "fn"), ("same_recall", "fp")):
        for name in SITES:
            rows += _common(overall, name, kind, what)
    for what in ("fn", "fp"):
        for name in SITES:
            add(f"{what.upper()} at 0.5", name, ("threshold_0.5", what), count, "percent")
    for label, key in (
        ("ECE", "ece"),
        ("ECE of scores >= 0.01", "ece_of_scores_from_0.01"),
        ("Brier", "brier"),
    ):
        for name in SITES:
            add(label, name, (key,), lambda v: "-" if v is None else f"{v:.2e}", "percent")
    return rows


def _common(overall: dict, name: str, kind: str, what: str) -> list[dict]:
    points = _at(overall, name, "common", kind)
    if not points:
        return []
    held = kind.removeprefix("same_")
    base, meta = (_at(points, model, what) for model in ("base", "meta"))
    change = points[f"{what}_reduction_percent"]
    label = f"{what.upper()} at base's {held}"
    told = percent(-change) if change is not None else ""
    return [{"label": label, "class": name, "base": count(base), "meta": count(meta), "change": told}]


def prevalence_line(metrics: dict) -> str:
    """Sites, positions and prevalence, per class, in one line."""
    told = []
    for name in SITES:
        entry = metrics["overall"][name]
        share = entry.get("prevalence")
        told.append(f"{entry['positives']:,} {name}s" + (f" (prevalence {share:.2e})" if share else ""))
    counts = metrics["counts"]
    return f"{', '.join(told)}; {counts['rows_in_scope']:,} rows in {counts['scored_genes']:,} genes"


def text_table(metrics: dict) -> str:
    """The document as a fixed-width table for a terminal, base versus refined, with the verdicts of the
    strata.
    """
    both = "base" in metrics["models"]
    lines = [prevalence_line(metrics), ""]
    head = (
        f"{'':31}{'':10}" + (f"{'base':>12}" if both else "") + f"{'refined':>12}" + (f"{'change':>12}" if both else "")
    )
    lines.append(head)
    for row in headline(metrics):
        line = f"{row['label']:31}{row['class']:10}" + (f"{row['base']:>12}" if both else "") + f"{row['meta']:>12}"
        lines.append((line + (f"{row['change']:>12}" if both else "")).rstrip())
    if both:
        lines += [
            "",
            f"{'macro AP by stratum':41}{'base':>12}{'refined':>12}{'change':>12}  never below base?",
        ]
        lines += [_stratum_line(s) for s in [metrics["overall"], *metrics["strata"]]]
    if metrics["warnings"]:
        lines += ["", *(f"warning: {w}" for w in metrics["warnings"])]
    return "\n".join(lines)


def _stratum_line(stratum: dict) -> str:
    macro = stratum["macro"]
    if "difference" not in macro:
        found = ", ".join(f"{stratum[s]['positives']} {s}s" for s in SITES)
        return f"{stratum['name'][:40]:41}{'':36}  too few ({found})"
    change = macro["difference"]
    told = change["verdict"]
    if change["interval"]:
        told += " [{:+.4f}, {:+.4f}]".format(*change["interval"])
    values = f"{number(macro['base']['ap']):>12}{number(macro['meta']['ap']):>12}{change['ap']:>+12.4f}"
    return f"{stratum['name'][:40]:41}{values}  {told}"


def multiqc(metrics: dict, sample: str) -> dict:
    """A MultiQC custom-content table with one sample (write it to a file that ends in _mqc.json)."""
    values: dict[str, float] = {}
    for name in (*SITES, "macro"):
        for model in metrics["models"]:
            values[f"ap_{name}_{model}"] = _at(metrics, "overall", name, model, "ap")
        values[f"ap_{name}_change"] = _at(metrics, "overall", name, "difference", "ap")
    for name in SITES:
        values[f"top_k_{name}"] = _at(metrics, "overall", name, "meta", "top_k", "1")
        values[f"fn_reduction_{name}"] = _at(
            metrics, "overall", name, "common", "same_precision", "fn_reduction_percent"
        )
        values[f"fp_reduction_{name}"] = _at(metrics, "overall", name, "common", "same_recall", "fp_reduction_percent")
    values = {k: v for k, v in values.items() if v is not None}
    headers = {k: {"title": _title(k), "format": "{:,.4f}" if "reduction" not in k else "{:,.1f}"} for k in values}
    return {
        "id": "ms_eval",
        "section_name": "ms-eval",
        "description": "Splice-site predictions, base and refined, at true prevalence.",
        "plot_type": "table",
        "pconfig": {"id": "ms_eval_table", "title": "ms-eval"},
        "headers": headers,
        "data": {sample: values},
    }


def _title(key: str) -> str:
    words = [{"ap": "AP", "fn": "FN", "fp": "FP", "meta": "refined"}.get(w, w) for w in key.split("_")]
    return " ".join(words).replace("top k", "top-k") + (" (%)" if "reduction" in key else "")
