"""The card: a `Source` in; README.md with its plots, INPUT_FORMAT.md, CITATION.cff and croissant.json out.

README.md is a Hugging Face dataset card, croissant.json the same for machines in Croissant 1.0 (MLCommons). Every
figure is measured on what is released; what could not be measured says so and is never shown as a number.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.api import types

from importer.pairs.batches import REPLACEMENT
from preference import formats
from preference.artifacts import sha256_of, write_json, write_text
from preference.pages import render
from preference.records import Trajectory
from qc_reports.agreement.coefficients import krippendorff_alpha
from qc_reports.answers import planned, votes
from qc_reports.report.batch_report import BatchReport
from release.gather import Source

_INK, _GREY = "#3465a4", "#9aa5b1"
_UNKNOWN = "not measured"
_STRATIFIED = "stratified by quality"
"""How pairs were chosen that no model proposed."""
_QUARTILES = {"same": "the same quartile", "adjacent": "adjacent quartiles", "distant": "distant quartiles"}
_SPDX = re.compile(r"(?!LicenseRef-)[A-Za-z0-9.+-]+")
"""A license that the hub may know by its identifier."""


def card_facts(source: Source, *, version: str, parity: float, files: Mapping[str, str]) -> dict[str, Any]:
    """The values of the templates, by name; figures come formatted, with their intervals.

    Args:
        parity: Largest difference between any of ONNX Runtime's outputs and torch's.
        files: The release's files, name → what each holds.
    """
    config = source.ws.config
    people = _people(source)
    whose = (
        "preferences of simulated annotators" if people["simulated"] == len(people["people"]) else "human preferences"
    )
    facts = {
        "title": f"{config.name}: {whose} over robot trajectories",
        "version": version,
        "date": source.date,
        "license": config.release.license,
        "hub_license": config.release.license.lower() if _SPDX.fullmatch(config.release.license) else "",
        "questions": "questions" in source.labels,
        "authors": config.release.authors or [f"The {config.name} team"],
        "pseudonyms": config.release.pseudonyms,
        "files": files,
        "clips": config.clips,
        "watch_to_end": config.label_studio.watch_to_end,
        "asked": config.pairs,
        "resolution": config.quality.resolution,
        "min_kappa": config.calibration.min_kappa,
        "left_out": source.left_out,
        "batches": [_batch(report) for report in source.reports],
    }
    return facts | _labels(source) | _answers(source) | people | _pool(source) | _model(source, parity)


def _labels(source: Source) -> dict[str, Any]:
    """Counts of labels, of pairs without one, of the splits, and how the released pairs were chosen."""
    values, splits = Counter(source.labels["preference"]), Counter(source.labels["split"])
    reasons = Counter(p.reason.replace("_", " ") for p in source.preferences if p.preference is None)
    rules = Counter(f"by {p.strategy}" if p.strategy else _STRATIFIED for p in source.pairs)
    strata = Counter(f"from {_QUARTILES[p.stratum]}" for p in source.pairs)
    return {
        "pairs": len(source.labels),
        "wins": {"A": values[1.0], "B": values[0.0], "tie": values[0.5]},
        "unlabelled": dict(sorted(reasons.items())),
        "split": {name: splits[name] for name in ("train", "validation", "test")},
        "selection": dict(rules.most_common()),
        "strata": dict(sorted(strata.items())),
        "actively_chosen": set(rules) != {_STRATIFIED},
        "model_chosen": any(p.strategy not in ("", REPLACEMENT) for p in source.pairs),
    }


def _answers(source: Source) -> dict[str, Any]:
    """Agreement, gold accuracy (on first showings), self-consistency (a repeat against the first), and the sides."""
    config = source.ws.config
    alpha = krippendorff_alpha(
        votes(planned(source.answers)), draws=config.quality.bootstrap, rng=source.ws.rng("release alpha")
    )
    answers = pd.DataFrame([vars(answer) | {"side": answer.side} for answer in source.answers])
    first, repeats = answers[~answers["duplicate"]], answers[answers["duplicate"]]
    gold = first.dropna(subset="expected")
    both = repeats.merge(first, on=["pair_id", "annotator_id"])
    sides = answers.loc[answers["side"].isin(["left", "right"]), "side"]
    low = math.isfinite(alpha.value) and alpha.value < config.quality.min_alpha
    return {
        "judgments": len(answers),
        "duplicates": len(repeats),
        "alpha": _interval(vars(alpha)),
        "low_alpha": formats.figure(alpha.value) if low else "",
        "min_alpha": config.quality.min_alpha,
        "gold": _share(gold["preference"] == gold["expected"]),
        "consistency": _share(both["preference_x"] == both["preference_y"]),
        "left": _share(sides == "left"),
    }


def _people(source: Source) -> dict[str, Any]:
    """Every annotator with a released answer; kappa is that of the latest attempt."""
    answers = Counter(a.annotator_id for a in source.answers)
    kappa = {c.annotator_id: c.kappa for c in source.certifications}
    people = [
        {
            "name": name,
            "simulated": bool(a.teacher),
            "kappa": _figure(kappa.get(a.annotator_id)),
            "answers": answers[name],
        }
        for a in source.annotators
        if answers[name := source.names[a.annotator_id]]
    ]
    people.sort(key=lambda person: person["name"])
    return {"people": people, "simulated": sum(person["simulated"] for person in people)}


def _batch(report: BatchReport) -> dict[str, Any]:
    gold = sum(row["gold"] for row in report.annotator_stats)
    wrong = sum((1 - row["gold_agreement"]) * row["gold"] for row in report.annotator_stats if row["gold"])
    return {
        "name": report.batch_id,
        "pairs": report.pairs,
        "alpha": _interval(report.alpha),
        "gold": _figure(wrong / gold if gold else None),
        "status": report.status,
    }


def _pool(source: Source) -> dict[str, Any]:
    """The pool by source and task."""
    pool = pd.DataFrame([t.to_dict() for t in source.trajectories])
    tasks = sorted(pool["task_type"].unique())
    rows = []
    for name, own in pool.groupby("source"):
        known, counts = own["success"].dropna(), Counter(own["task_type"])
        success = f"{sum(known)} of {len(known)}" if len(known) else "unknown"
        rows.append({"source": name, "tasks": [counts[task] for task in tasks], "all": len(own), "success": success})
    return {
        "trajectories": len(pool),
        "compared": len(source.compared),
        "datasets": sorted(pool["dataset"].unique()),
        "tasks": tasks,
        "pool": rows,
    }


def _model(source: Source, parity: float) -> dict[str, Any]:
    """The model and its validation; the held-out pairs are the released ones: `gather` has checked that."""
    spec, v = source.spec, source.validation
    accuracy = v["ranking_accuracy"]
    unseen = v.get("unseen_trajectories", {}).get("value")
    measures: dict[str, Any] = {
        "ranking accuracy, all pairs, cross-validated": v.get("cross_validated"),
        "ranking accuracy, pairs of trajectories never trained on": v.get("unseen_trajectories"),
    }
    for kind in ("by_stratum", "by_task_type"):
        measures |= {
            f"ranking accuracy on test pairs, {_QUARTILES.get(name, name)}": row
            for name, row in v.get(kind, {}).items()
        }
    measures |= {
        "what a perfect model would score on these labels": v.get("noise_ceiling"),
        "expected calibration error": v.get("calibration", {}).get("error"),
        "best epoch": v.get("best_epoch"),
    }
    measures |= {f"Spearman's rho, {task}": value for task, value in v.get("spearman_by_task_type", {}).items()}
    shown = {words: _shown(value) for words, value in measures.items()}
    return {
        "model": spec,
        "robots": [str(robot) for robot in spec.layout.robots],
        "cameras": f"{len(spec.cameras)} cameras" if spec.cameras else "one camera",
        "encoder": spec.encoder if "frames" in spec.inputs else "",
        "weights": spec.weights,
        "finetuned": v.get("encoder_saw_labels", False),
        "inputs": spec.inputs,
        "parameters": sum(p.numel() for p in source.model.parameters()),
        "network_counts": bool(source.model.hidden_weight.any()),
        "ties": source.trained.ties,
        "weak": v.get("weak_pairs"),
        "accuracy": _interval(accuracy),
        "accuracy_within": (accuracy["high"] - accuracy["low"]) / 2 if formats.known(accuracy["high"]) else 0.0,
        "tested": accuracy["pairs"],
        "spearman": _figure(source.record.spearman),
        "ground_truth": v.get("ground_truth", "ground truth"),
        "unseen": formats.figure(unseen, unknown="unknown"),
        "checks": v.get("checks", ()),
        "measures": shown | {"largest difference between reward_model.onnx and torch": f"{parity:.1e}"},
    }


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{_interval(value)}, {value['pairs']} pairs"
    return _figure(value) if isinstance(value, float) or value is None else str(value)


def _figure(value: float | None) -> str:
    return formats.figure(value, 3, unknown=_UNKNOWN)


def _interval(figure: Mapping[str, Any]) -> str:
    """A figure with `value`, `low` and `high`."""
    return formats.interval(figure["value"], figure["low"], figure["high"], unknown=_UNKNOWN)


def _share(right: pd.Series) -> str:
    return f"{_figure(right.mean())} ({right.sum()} of {len(right)})" if len(right) else _UNKNOWN


def write_card(folder: Path, facts: Mapping[str, Any], contract: Mapping[str, Any]) -> None:
    """README.md, INPUT_FORMAT.md and CITATION.cff.

    Args:
        facts: By the names that the templates use; see `card_facts`.
        contract: As the ONNX file carries it, with its `graph`.
    """
    write_text(folder / "README.md", _rendered("README.md", **facts))
    write_text(folder / "INPUT_FORMAT.md", _rendered("INPUT_FORMAT.md", c=contract))
    write_text(folder / "CITATION.cff", _rendered("CITATION.cff", **facts))


def write_croissant(folder: Path, facts: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> None:
    """croissant.json: every data file in `folder` with its SHA-256, and the columns of `tables` (file → content)."""
    files = [(path, sha256_of(path)) for path in sorted(folder.iterdir()) if path.is_file()]
    described = [
        {
            "file": file,
            "name": Path(file).stem,
            "columns": [(name, _kind(table[name]), isinstance(table[name].iloc[0], list)) for name in table],
        }
        for file, table in tables.items()
    ]
    text = _rendered("croissant.json", **facts, distribution=files, tables=described)
    write_json(folder / "croissant.json", json.loads(text), sort_keys=True)


def _rendered(name: str, **values: Any) -> str:
    return render("release", f"{name}.jinja", **values)


def _kind(column: pd.Series) -> str:
    """As schema.org calls what the column holds."""
    kinds = {types.is_bool_dtype: "Boolean", types.is_integer_dtype: "Integer", types.is_float_dtype: "Float"}
    return next((kind for holds, kind in kinds.items() if holds(column)), "Text")


def plot_labels(labels: pd.DataFrame, path: Path) -> None:
    """Answers, mean confidence and agreement of the released pairs; the same table gives the same bytes."""
    figure, (answers, confidence, agreement) = _subplots(3)
    names = {"A": 1.0, "equal": 0.5, "B": 0.0}
    counts = [int((labels["preference"] == value).sum()) for value in names.values()]
    answers.bar(list(names), counts, color=[_INK, _GREY, _INK])
    answers.set_xlabel("label")
    answers.set_ylabel("pairs")
    confidence.hist(labels["confidence_mean"], bins=16, range=(1, 5), color=_INK)
    confidence.set_xlabel("mean confidence, 1 (guess) to 5 (sure)")
    agreement.hist(labels["agreement"], bins=20, range=(0, 1), color=_INK)
    agreement.set_xlabel("agreement within a pair")
    _save(figure, path)


def plot_rewards(trajectories: Sequence[Trajectory], rewards: Mapping[str, float], path: Path) -> None:
    """Rewards by source, and against the ground truth, or against duration where there is none."""
    figure, (by_source, by_truth) = _subplots(2)
    pool = pd.DataFrame([t.to_dict() for t in trajectories])
    shown = pool.assign(reward=pool["trajectory_id"].map(rewards)).dropna(subset="reward")
    groups = {str(source): own["reward"].tolist() for source, own in shown.groupby("source")}
    by_source.boxplot(
        list(groups.values()), orientation="horizontal", tick_labels=list(groups), medianprops={"color": _INK}
    )
    by_source.set_xlabel("reward")
    truths = {
        "true_return": "simulator's return",
        "quality": "ground-truth quality",
        "duration_s": "duration (s); there is no ground truth",
    }
    field = next(name for name in truths if name == "duration_s" or shown[name].notna().any())
    for number, (task, own) in enumerate(shown.groupby("task_type")):
        known = own.dropna(subset=field)
        by_truth.plot(known[field], known["reward"], ".", color=f"C{number}", label=task)
    by_truth.set_xlabel(truths[field])
    by_truth.set_ylabel("reward")
    by_truth.legend(fontsize="small")
    _save(figure, path)


def _subplots(columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(10, 3.2), dpi=110, layout="constrained")
    axes = [figure.add_subplot(1, columns, number + 1) for number in range(columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
