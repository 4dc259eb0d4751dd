"""What to do after a report was read: the report goes in, words and the command for each step come out.

Commands are made to be copied into a shell, so names in them are quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from qc_reports.report.batch_report import BatchReport

NOW = ("Where things stand by now:", "robopref status")


def next_steps(report: BatchReport) -> list[tuple[str, str]]:
    """(what to do, the command for it) in order; the command may be empty."""
    return [*_steps(report), NOW]


def _steps(report: BatchReport) -> list[tuple[str, str]]:
    batch = quote(report.batch_id)
    qc = f"robopref qc --batch {batch}"
    if report.status == "open":
        return [("Let the annotators finish, then fetch their answers", "robopref pull"), ("and check again.", qc)]
    if report.status == "held":
        signed = "--by YOU --why REASON"
        pending = report.left_out["pending"]
        review = f"robopref batch review {quote(pending[0]) if len(pending) == 1 else 'NAME'} --batch {batch}"
        said = f"Say whether the judgments of {_listed(pending)} count; until then they are left out."
        reviews = [(said, f"{review} --keep {signed}")] if pending else []
        return [
            (_review(report), ""),
            *reviews,
            ("After corrections in Label Studio, fetch and check again.", f"robopref pull && {qc}"),
            ("Or accept the batch as it is; that is recorded.", f"robopref batch accept {batch} {signed}"),
        ]
    waiting = report.resolved.get("unresolved", 0)
    first = (
        f"Resolve the labels; a third annotator is asked about {waiting} pairs." if waiting else "Resolve the labels"
    )
    return [(first, "robopref resolve"), ("and train the reward model on them.", "robopref train")]


def steps_for_file(report: BatchReport, name: str) -> list[tuple[str, str]]:
    """`next_steps` for judgments from elsewhere, which no command here can correct or accept."""
    again = ("Then check the corrected file.", f"robopref qc --judgments {quote(name)} --out report")
    if report.status == "held":
        return [(_review(report), ""), again]
    if waiting := report.resolved.get("unresolved", 0):
        return [(f"Have {waiting} pairs without a label answered by one more annotator.", ""), again]
    return [("Use the labels: pairs.csv beside this page has one for each pair.", "")]


def _review(report: BatchReport) -> str:
    people = sorted({flag["annotator_id"] for flag in report.flags if flag["sentence"] in report.reasons})
    return f"Go through the answers with {_listed(people)}." if people else "Look at the contested pairs below."


def _listed(names: Sequence[str]) -> str:
    """a, b and c; of more than four, the first three and how many more."""
    few = [*names] if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return " and ".join(filter(None, (", ".join(few[:-1]), *few[-1:])))
