"""What the demo did: its figures for summary.json, and a short account of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from preference.artifacts import read_json
from preference.formats import figure
from preference.records import by_stratum
from preference.work import output, terminal
from preference.workspace import Workspace
from robopref.show import counted

if TYPE_CHECKING:
    from release.build import ReleaseResult


def summarize(ws: Workspace, seconds: dict[str, float], release: ReleaseResult) -> dict[str, Any]:
    """The content of summary.json. All but the seconds comes from the workspace, so that a resumed demo has it too."""
    store = ws.store
    trajectories = store.trajectories()
    batches = {batch.batch_id: batch for batch in store.batches()}
    active = [pair for pair in store.pairs() if batches[pair.batch_id].kind == "active"]
    preferences = store.preferences()
    reports = [read_json(ws.reports / batch.batch_id / "qc.json") for batch in store.batches(calibration=False)]
    models = store.model_versions()
    strategies = sorted({pair.strategy for pair in active} - {"uniform"}) or ["uniform"]
    return {
        "trajectories": len(trajectories),
        "clips": sum(bool(t.clip) and (ws.root / t.clip).exists() for t in trajectories),
        "strata": by_stratum(pair for pair in store.pairs() if batches[pair.batch_id].kind == "production"),
        "duplicates": sum(view.assignment.duplicate_of is not None for view in store.assignments()),
        "annotators": _annotators(ws, reports),
        "judgments": store.count_judgments(),
        "alpha": reports[0]["alpha"]["value"] if reports else None,
        "preferences": sum(p.preference is not None for p in preferences),
        "discarded": sum(p.reason == "ambiguous" for p in preferences),
        "models": [
            {name: getattr(model, name) for name in ("version", "preferences", "ranking_accuracy", "spearman")}
            for model in models
        ],
        "validation": validation(ws),
        "active": {"strategy": strategies[0], "pairs": len(active)},
        "release": {"path": str(release.archive), "sha256": release.sha256},
        "seconds": seconds,
        "encoder": models[-1].encoder if models else "",
        "weights": models[-1].weights if models else "",
    }


def validation(ws: Workspace) -> dict[str, Any]:
    """Of the active model: whether it can be trusted, the verdict in words, and its page."""
    from ml_backend.loop.validate import page_of

    page = page_of(ws)
    model = ws.store.active_model()
    found = (model.trusted, model.verdict) if model else (None, "")
    return {"version": page.parent.name, "trusted": found[0], "verdict": found[1], "page": str(page)}


def _annotators(ws: Workspace, reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kappa of the latest attempt, and the flags of all batches."""
    latest = ws.store.latest_certifications()
    flags: dict[str, set[str]] = {}
    for report in reports:
        for flag in report["flags"]:
            flags.setdefault(flag["annotator_id"], set()).add(flag["kind"])
    return [
        {
            "id": annotator.annotator_id,
            "kappa": latest[annotator.annotator_id].kappa,
            "certified": latest[annotator.annotator_id].certified,
            "flags": sorted(flags.get(annotator.annotator_id, ())),
        }
        for annotator in ws.store.annotators()
        if annotator.role == "annotator" and annotator.annotator_id in latest
    ]


def tell(summary: dict[str, Any], root: Path) -> None:
    """Print the account."""
    certified = [a["id"] for a in summary["annotators"] if a["certified"]]
    failed = [f"{a['id']} (kappa {figure(a['kappa'])})" for a in summary["annotators"] if not a["certified"]]
    active, validated = summary["active"], summary["validation"]
    lines = [
        f"{summary['trajectories']} trajectories, {summary['clips']} clips.",
        f"{len(summary['annotators'])} annotators took the test. Certified: {', '.join(certified)}. "
        f"Not certified: {', '.join(failed) or 'nobody'}.",
        f"{summary['judgments']} judgments. Certified annotators compared {counted(summary['strata'])} pairs and "
        f"{active['pairs']} active ones ({active['strategy']}); {summary['duplicates']} repeats had "
        "their sides swapped.",
        f"Krippendorff's alpha {figure(summary['alpha'])}. {summary['preferences']} pairs have a label; "
        f"{summary['discarded']} were discarded as ambiguous.",
        *(
            f"Reward model {m['version']}: {m['preferences']} preferences, ranking accuracy on held-out pairs "
            f"{figure(m['ranking_accuracy'])}, Spearman's rho with the simulator's return {figure(m['spearman'])}."
            for m in summary["models"]
        ),
        f"Its features come from {summary['encoder']} with {_weights(summary['weights'])}.",
        f"Can {validated['version']} be trusted? {_answer(validated)}{validated['verdict']} "
        f"Validation page: {validated['page']}",
        f"Release: {summary['release']['path']}",
        f"{sum(summary['seconds'].values()):.0f} seconds. All figures: {root / 'summary.json'}",
    ]
    output.print("\n[bold]What happened[/]")
    for line in lines:
        output.print(f"• {terminal(line)}", highlight=False, soft_wrap=True)


def _answer(validated: dict[str, Any]) -> str:
    if validated["verdict"].startswith("Not yet known"):
        return ""  # neither yes nor no: the verdict begins with these words
    return "Yes. " if validated["trusted"] else "No. "


def _weights(weights: str) -> str:
    if weights == "none":
        return "fixed random weights, because ImageNet weights could not be downloaded; expect more with them"
    return f"{'ImageNet' if weights == 'imagenet' else weights} weights"
