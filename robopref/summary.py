"""What the demo did, as figures for summary.json and as a short story."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preference.formats import figure
from preference.work import console
from preference.workspace import Workspace

if TYPE_CHECKING:
    from ml_backend.release.build import ReleaseResult


@dataclass(frozen=True)
class Summary:
    """The keys of summary.json."""

    trajectories: int
    clips: int
    strata: dict[str, int]
    duplicates: int
    annotators: list[dict[str, Any]]
    judgments: int
    alpha: float
    preferences: int
    discarded: int
    models: list[dict[str, Any]]
    validation: dict[str, Any]
    """Of the model in use: version, whether it is to be trusted, the verdict in words, where the page is."""
    active: dict[str, Any]
    release: dict[str, str]
    seconds: dict[str, float]
    encoder: str
    weights: str


def summarize(ws: Workspace, seconds: dict[str, float], release: ReleaseResult) -> Summary:
    """Collect the figures from the workspace; nothing is remembered from the run itself but the seconds."""
    from qc_reports.resolve import read_preferences

    store = ws.store
    trajectories = store.trajectories()
    batches = {batch.batch_id: batch for batch in store.batches()}
    pairs = [pair for pair in store.pairs() if batches[pair.batch_id].kind == "production"]
    active = [pair for pair in store.pairs() if pair.kind == "active"]
    preferences = read_preferences(ws.preferences)
    reports = [_report(ws, batch) for batch, record in batches.items() if record.kind != "calibration"]
    models = store.model_versions()
    strategies = sorted({pair.strategy for pair in active} - {"uniform"}) or ["uniform"]
    return Summary(
        trajectories=len(trajectories),
        clips=sum(bool(t.clip) and (ws.root / t.clip).exists() for t in trajectories),
        strata={name: sum(p.stratum == name for p in pairs) for name in ("adjacent", "same", "distant")},
        duplicates=sum(view.assignment.duplicate_of is not None for view in store.assignments()),
        annotators=_annotators(ws, reports),
        judgments=store.count_judgments(),
        alpha=reports[0]["alpha"]["value"] if reports else float("nan"),
        preferences=sum(p.preference is not None for p in preferences),
        discarded=sum(p.reason == "ambiguous" for p in preferences),
        models=[
            {
                "version": model.version,
                "preferences": model.preferences,
                "ranking_accuracy": model.ranking_accuracy,
                "spearman": model.spearman,
            }
            for model in models
        ],
        validation=_validation(ws),
        active={"strategy": strategies[0], "pairs": len(active)},
        release={"path": str(release.archive), "sha256": release.sha256},
        seconds=seconds,
        encoder=models[-1].encoder if models else "",
        weights=models[-1].weights if models else "",
    )


def _report(ws: Workspace, batch_id: str) -> dict[str, Any]:
    return json.loads((ws.reports / batch_id / "qc.json").read_text(encoding="utf-8"))


def _validation(ws: Workspace) -> dict[str, Any]:
    from ml_backend.loop.validate import page_of, verdict_of

    page = page_of(ws)
    figures = json.loads((page.parent / "validation.json").read_text(encoding="utf-8"))
    return {
        "version": page.parent.name,
        "trusted": figures["trusted"],
        "verdict": verdict_of(figures["checks"]),
        "page": str(page),
    }


def _annotators(ws: Workspace, reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kappa of the latest attempt, and the flags of all batches."""
    latest = {record.annotator_id: record for record in ws.store.certifications()}
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


def tell(summary: Summary, root: Path) -> None:
    """Print the story."""
    certified = [a["id"] for a in summary.annotators if a["certified"]]
    refused = [f"{a['id']} (kappa {figure(a['kappa'], 2)})" for a in summary.annotators if not a["certified"]]
    told = summary.validation
    strata = ", ".join(f"{count} {name}" for name, count in summary.strata.items())
    lines = [
        f"{summary.trajectories} trajectories became {summary.clips} clips.",
        f"{len(summary.annotators)} annotators were calibrated: {', '.join(certified)} certified; "
        f"refused: {', '.join(refused) or 'nobody'}.",
        f"{summary.judgments} judgments in all. The certified compared {strata} pairs and {summary.active['pairs']} "
        f"active ones ({summary.active['strategy']}), {summary.duplicates} shown twice with the sides swapped.",
        f"Krippendorff's alpha {figure(summary.alpha, 2)}; {summary.preferences} pairs have a label, "
        f"{summary.discarded} were discarded as ambiguous.",
        *(
            f"Reward model {m['version']}: {m['preferences']} preferences, ranking accuracy on held-out pairs "
            f"{figure(m['ranking_accuracy'], 2)}, Spearman with the simulator's return {figure(m['spearman'], 2)}."
            for m in summary.models
        ),
        f"Its features come from {summary.encoder} with {_weights(summary.weights)}.",
        f"Can {told['version']} be trusted? {'Yes' if told['trusted'] else 'No'}. {told['verdict']} "
        f"The page: {told['page']}",
        f"Release: {summary.release['path']}",
        f"{sum(summary.seconds.values()):.0f} seconds. The figures: {root / 'summary.json'}",
    ]
    console.print("\n[bold]What happened[/]")
    for line in lines:
        console.print(f"• {line}", highlight=False, soft_wrap=True)


def _weights(weights: str) -> str:
    if weights == "none":
        return "fixed random weights, because ImageNet weights could not be had (no network); expect more with them"
    return f"{'ImageNet' if weights == 'imagenet' else weights} weights"
