"""Results of the checking commands, as a person reads them or as one JSON object: certificates, batches, labels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from preference.errors import NotReady
from preference.formats import figure
from preference.records import Certification, Preference
from preference.work import console
from preference.workspace import Workspace
from robopref.show import print_json, say, table

if TYPE_CHECKING:
    from qc_reports.report.batch_report import BatchReport


def certifications(results: Sequence[Certification], links: Mapping[str, Mapping[str, str]], as_json: bool) -> None:
    """`links`: annotator → pair to go over again → its task in Label Studio."""
    if as_json:
        print_json({"certifications": list(results), "review": links})
        return
    rows = [
        [r.annotator_id, figure(r.kappa, 3), f"{figure(r.kappa_low, 2)} to {figure(r.kappa_high, 2)}",
         "certified" if r.certified else "not certified", " ".join(r.findings[:2])]
        for r in results
    ]  # fmt: skip
    table("Agreement with the expert", ["annotator", "kappa", "95 % interval", "", "what to look at"], rows)
    for r in results:
        if not r.certified and r.review:
            say(f"{r.annotator_id}, to go over again in the second training session:")
            for finding in r.findings:
                say(f"  {finding}")
            for pair_id in r.review:
                say(f"  {links.get(r.annotator_id, {}).get(pair_id) or pair_id}")


def certificates(records: Sequence[Certification], template: str, as_json: bool) -> None:
    """`template`: the version of today's; a certificate on another one says so."""
    if as_json:
        print_json({"certifications": list(records)})
        return
    rows = [
        [r.annotator_id, r.batch_id, r.created_at[:10] or "–", figure(r.kappa, 2),
         "certified" if r.certified else "not certified" if r.pairs else "to come", _template(r.template, template),
         " ".join(filter(None, (r.override and f"Allowed by {r.override}", r.revoked and f"Revoked by {r.revoked}")))]
        for r in records
    ]  # fmt: skip
    table("Certificates", ["annotator", "set", "date", "kappa", "", "template", ""], rows)


def newest_batch(ws: Workspace) -> str:
    """Id of the newest production or active batch."""
    asked = [batch.batch_id for batch in ws.store.batches() if batch.kind != "calibration"]
    if not asked:
        raise NotReady("No batch has been asked yet.", fix="Run `robopref pairs` first.")
    return asked[-1]


def quality(ws: Workspace, report: BatchReport, as_json: bool) -> None:
    from qc_reports.report import files

    if as_json:
        print_json(files.as_json(report))
        return
    colour = "green" if report.status == "accepted" else "yellow"
    console.print(f"Batch {report.batch_id}: [{colour}]{report.status}[/]. " + escape(" ".join(report.reasons)))
    console.print(f"Report: {ws.reports / report.batch_id / 'report.html'}", soft_wrap=True)


FILE_KEYS = ("pairs", "judgments", "annotators", "alpha", "kappa", "annotator_stats", "resolved", "flags")
"""What `qc --judgments --json` prints; the report's qc.json has these and more."""


def judgments_file(path: Path, config: Path, out: Path | None, as_json: bool) -> None:
    """Check a file of judgments by the project's thresholds where there is a project, else by the protocol's."""
    import numpy as np

    from preference.config import CONFIG_NAME, Config, load_config
    from qc_reports.report.judgments_file import check_file

    settings = load_config(config) if config.exists() or config != Path(CONFIG_NAME) else Config()
    report = check_file(path, settings.quality, rng=np.random.default_rng(settings.seed), out=out)
    for sentence in report.warnings:
        say(sentence, "yellow")
    if as_json:
        print_json({key: getattr(report, key) for key in FILE_KEYS})
        return
    a, r = report.alpha, report.resolved
    counts = ((report.judgments, "judgment"), (report.pairs, "pair"), (report.annotators, "annotator"))
    judged, of, by = (f"{count} {word}{'s' * (count != 1)}" for count, word in counts)
    say(f"{judged} of {of} by {by}.")
    if math.isfinite(a["value"]):
        interval = (
            f" (95 % interval {figure(a['low'], 2)} to {figure(a['high'], 2)})" if math.isfinite(a["low"]) else ""
        )
        say(f"Krippendorff's alpha is {figure(a['value'], 3)}{interval}.")
    say("Resolved: " + ", ".join(f"{count} {word}" for word, count in r.items()) + ".")
    for flag in report.flags:
        say(flag["sentence"], "yellow")
    if out:
        say(f"Report: {out / 'report.html'}")


def batch_list(ws: Workspace, as_json: bool) -> None:
    from qc_reports.report.gate import by_hand

    known = [batch for batch in ws.store.batches() if batch.kind != "calibration"]
    reviews = {batch.batch_id: [r for r in ws.store.reviews() if r.batch_id == batch.batch_id] for batch in known}
    if as_json:
        print_json({"batches": [asdict(b) | {"reviews": [asdict(r) for r in reviews[b.batch_id]]} for b in known]})
        return
    rows = [[b.batch_id, b.created_at[:10], b.status, "by hand" if b.decisions else "",
             " ".join(b.reasons)] for b in known]  # fmt: skip
    table("Batches", ["batch", "date", "", "", "why"], rows)
    for batch in known:
        for decision in batch.decisions[:-1]:
            say(f"{batch.batch_id}, before: {by_hand(decision)}")


def decided(ws: Workspace, batch_id: str, report: BatchReport | None, as_json: bool) -> None:
    if report is not None:
        quality(ws, report, as_json)
        pending = report.left_out["pending"]
        if pending and report.status == "accepted":
            say(f"Still left out until reviewed: {', '.join(pending)}. `robopref batch review` decides.", "yellow")
        return
    batch = next(batch for batch in ws.store.batches() if batch.batch_id == batch_id)
    if as_json:
        print_json(batch)
    else:
        say(f"Batch {batch_id}: {batch.status}. {' '.join(batch.reasons)}")


def preferences(results: Sequence[Preference], resolution: Path, as_json: bool) -> None:
    """How the pairs ended, what leaving people out changed, and where other methods differ from the vote."""
    from qc_reports.resolution.vote import LOST

    counts: dict[str, int] = {}
    for preference in results:
        counts[preference.reason] = counts.get(preference.reason, 0) + 1
    labelled = sum(p.preference is not None for p in results)
    found = json.loads(resolution.read_text(encoding="utf-8"))
    if as_json:
        print_json({"pairs": len(results), "labelled": labelled, "reasons": counts, **found})
        return
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(counts.items()))
    say(f"{labelled} of {len(results)} pairs have a label ({reasons}).")
    if gone := sum(counts.get(reason, 0) for reason in LOST):
        say(f"{gone} are lost for good; `robopref pairs --replace` asks others in their place.")
    change = found["left_out"]
    for names, what in ((change["pending"], "until reviewed"), (change["dropped"], "by a review")):
        if names:
            say(f"Left out {what}: {', '.join(names)}.", "yellow")
    if change["judgments"]:
        say(f"Without these {change['judgments']} judgments {change['changed']} labels are others, "
            f"{change['vanished']} are gone, {change['gained']} are new.")  # fmt: skip
    rows = [[one["method"], row["pair_id"], " ".join(row["votes"].values()), row["vote"], row["label"],
             figure(row["probability"], 2)] for one in found["methods"] for row in one["rows"][:5]]  # fmt: skip
    if rows:
        counted = ", ".join(f"{m['method']} {m['differ']} of {m['pairs']}" for m in found["methods"])
        columns = ["method", "pair", "votes", "vote says", "method says", "probability"]
        table(f"Other than the vote: {counted}", columns, rows)


def _template(version: str, today: str) -> str:
    return f"{version} (not today's)" if version not in ("", today) else version or "–"
