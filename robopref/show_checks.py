"""Results of the checking commands: certificates, batches, labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from preference.formats import UNKNOWN, figure, interval, known
from preference.records import Certification, Preference, Resolution
from preference.workspace import Workspace
from robopref.show import counted, print_json, say, table, warn

if TYPE_CHECKING:
    from qc_reports.certification import Effort
    from qc_reports.report.batch_report import BatchReport


AFTER_REFUSAL = (
    "`robopref certify --retest`, then `robopref push`, shows {} these pairs again in Label Studio, with the "
    "expert's answers and reasons, and gives them the second set."
)


def certifications(
    results: Sequence[Certification],
    links: Mapping[str, Mapping[str, str]],
    effort: Effort,
    to_retest: Sequence[str],
    as_json: bool,
) -> None:
    """`links`: annotator → pair to review → its task in Label Studio. `to_retest`: who can get more by `--retest`."""
    if as_json:
        print_json({"certifications": list(results), "review": links, "effort": effort})
        return
    rows = [
        [r.annotator_id, figure(r.kappa, 3), f"{figure(r.kappa_low)} to {figure(r.kappa_high)}",
         _outcome(r), " ".join(r.findings[:2])]
        for r in results
    ]  # fmt: skip
    table("Agreement with the expert", ["annotator", "kappa", "95 % interval", "", "what to look at"], rows)
    if effort.tested:
        passed = (
            f"Certified by the first set: {effort.passed_first} of {effort.tested}; the protocol expects 70 to 80 %."
        )
        say(f"{passed} Training and tests took {figure(effort.median_h, 1)} h (median); it expects 1 to 3 h.")
    if undecided := [r.annotator_id for r in results if r.undecided and r.annotator_id in to_retest]:
        more = "more pairs decide. `robopref certify --retest` assigns them, then `robopref push`."
        say(f"Undecided about {', '.join(undecided)}: {more}")
    refused = [r for r in results if not r.certified and not r.undecided and r.review]
    for r in refused:
        say(" ".join([f"{r.annotator_id} missed {len(r.review)} of {r.pairs} pairs.", *r.findings]))
    if again := [r.annotator_id for r in refused if r.annotator_id in to_retest]:
        say(AFTER_REFUSAL.format(", ".join(again)))


def _outcome(record: Certification) -> str:
    if record.certified:
        return "certified"
    if not record.pairs:
        return "not taken yet"
    return "undecided" if record.undecided else "not certified"


def certificates(records: Sequence[Certification], template: str, as_json: bool) -> None:
    """`template`: the current version; a certificate for another one says so."""
    if as_json:
        print_json({"certifications": list(records)})
        return
    rows = [
        [r.annotator_id, r.batch_id, r.created_at[:10] or UNKNOWN, figure(r.kappa),
         _outcome(r),
         f"{r.template} (outdated)" if r.template not in ("", template) else r.template or UNKNOWN,
         " ".join(filter(None, (r.override and f"Allowed by {r.override}", r.revoked and f"Revoked by {r.revoked}")))]
        for r in records
    ]  # fmt: skip
    table("Certificates", ["annotator", "set", "date", "kappa", "", "template", ""], rows)


def quality(ws: Workspace, report: BatchReport, as_json: bool) -> None:
    if as_json:
        from qc_reports.report import files

        print_json(files.as_json(report))
        return
    colour = "green" if report.status == "accepted" else "yellow"
    say(f"Batch {report.batch_id}: {report.status}. {' '.join(report.reasons)}", colour)
    say(f"Report: {ws.reports / report.batch_id / 'report.html'}")


FILE_KEYS = ("pairs", "judgments", "annotators", "alpha", "kappa", "annotator_stats", "resolved", "flags")
"""What `qc --judgments --json` prints; the report's qc.json has these and more."""


def judgments_file(report: BatchReport, out: Path | None, as_json: bool) -> None:
    warn(report.warnings)
    if as_json:
        print_json({key: getattr(report, key) for key in FILE_KEYS})
        return
    counts = ((report.judgments, "judgment"), (report.pairs, "pair"), (report.annotators, "annotator"))
    judged, of, by = (f"{count} {word}{'s' * (count != 1)}" for count, word in counts)
    say(f"{judged} of {of} by {by}.")
    if known(report.alpha["value"]):
        alpha = interval(report.alpha["value"], report.alpha["low"], report.alpha["high"])
        say(f"Krippendorff's alpha is {alpha}.")
    say(f"Resolved: {counted(report.resolved)}.")
    for flag in report.flags:
        say(flag["sentence"], "yellow")
    if out:
        say(f"Report: {out / 'report.html'}")


def batch_list(ws: Workspace, as_json: bool) -> None:
    asked = ws.store.batches(calibration=False)
    progress = ws.store.progress_by_batch()
    if as_json:
        reviews = ws.store.reviews()
        print_json({"batches": [
            asdict(b) | dict(zip(("answered", "assignments"), progress.get(b.batch_id, (0, 0)), strict=True))
            | {"reviews": [asdict(r) for r in reviews if r.batch_id == b.batch_id]} for b in asked
        ]})  # fmt: skip
        return
    from qc_reports.report.gate import by_hand

    rows = [[b.batch_id, b.created_at[:10], "{} of {}".format(*progress.get(b.batch_id, (0, 0))), b.status,
             "by hand" if b.decisions else "", "" if b.status == "open" else " ".join(b.reasons)]
            for b in asked]  # fmt: skip
    table("Batches", ["batch", "date", "answered", "at the last check", "", "why"], rows)
    for batch in asked:
        for decision in batch.decisions[:-1]:
            say(f"{batch.batch_id}, before: {by_hand(decision)}")


def decided(ws: Workspace, batch_id: str, report: BatchReport | None, as_json: bool) -> None:
    """`report`: None if QC has not checked the batch yet."""
    if report is not None:
        quality(ws, report, as_json)
        pending = report.left_out["pending"]
        if pending and not as_json and report.status == "accepted":
            say(f"Left out until `robopref batch review`: {', '.join(pending)}.", "yellow")
        return
    batch = next(batch for batch in ws.store.batches() if batch.batch_id == batch_id)
    if as_json:
        print_json(batch)
    else:
        say(f"Batch {batch_id}: {batch.status}. {' '.join(batch.reasons)}")


def preferences(results: Sequence[Preference], resolution: Resolution, as_json: bool) -> None:
    """How the pairs were resolved, what leaving people out changed, and where other methods differ from the vote."""
    counts = dict(sorted(Counter(preference.reason for preference in results).items()))
    labelled = sum(preference.preference is not None for preference in results)
    found = resolution.to_dict()
    if as_json:
        print_json({"pairs": len(results), "labelled": labelled, "reasons": counts, **found})
        return
    from qc_reports.resolution.vote import LOST

    say(f"{labelled} of {len(results)} pairs have a label ({counted(counts).replace('_', ' ')}).")
    if lost := sum(counts.get(reason, 0) for reason in LOST):
        say(f"{lost} will never get one; `robopref pairs --replace` creates replacements.")
    change = found["left_out"]
    for names, what in ((change["pending"], "until reviewed"), (change["dropped"], "after a review")):
        if names:
            say(f"Left out {what}: {', '.join(names)}.", "yellow")
    if change["judgments"]:
        say(f"Leaving out these {change['judgments']} judgments changed {change['changed']} labels, removed "
            f"{change['vanished']} and added {change['gained']}.")  # fmt: skip
    rows = [[one["method"], row["pair_id"], " ".join(row["votes"].values()), row["vote"], row["label"],
             figure(row["probability"])] for one in found["methods"] for row in one["rows"][:5]]  # fmt: skip
    if rows:
        differ = ", ".join(f"{m['method']} on {m['differ']} of {m['pairs']}" for m in found["methods"])
        columns = ["method", "pair", "votes", "majority", "method's label", "probability"]
        table(f"Methods that differ from the majority: {differ}", columns, rows)
