"""A batch's report as one HTML page: the figures of `qc.json` and the answers go in, the page's text comes out.

The page is self-contained: no script, no network, figures drawn as SVG and tables in the template. Its first screen
says whether the batch is good, who needs help and what to do next; the rest is where to look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from preference.config import Quality
from preference.records import Pair
from qc_reports.answers import Answered, votes
from qc_reports.contested import contested_pairs, disagreement_table
from qc_reports.gate import BY_HAND
from qc_reports.response_times import response_times

if TYPE_CHECKING:
    from qc_reports.stages import BatchReport

CONTESTED_SHOWN = 20
"""More contested pairs than a person reads in a sitting only make the page long."""
VERDICTS = {"accepted": "is good.", "held": "is on hold.", "open": "is not finished."}
TONES = {"accepted": "good", "held": "held", "open": "open"}
RESOLVED = {"A": "A is better", "equal": "equal", "B": "B is better", "ambiguous": "ambiguous, discarded",
            "unresolved": "no label yet"}  # fmt: skip


def write_report(
    report: BatchReport,
    answers: Sequence[Answered],
    pairs: Sequence[Pair],
    *,
    quality: Quality | None = None,
    words: Mapping[str, str] | None = None,
) -> str:
    """The page of one batch.

    Args:
        answers: Those that the figures of `report` were made from.
        pairs: The batch's; empty where only the answers are known.
        quality: The thresholds to draw; default: the protocol's.
        words: Assignment → the annotator's own reason, to print beside a contested answer. Left out where a page goes
            to people who must not read them.
    """
    quality = quality or Quality()
    contested = contested_pairs(answers, pairs)
    return _render(
        report=report,
        quality=quality,
        verdict=_verdict(report),
        alpha=_alpha_scale(report.alpha, quality.min_alpha),
        steps=next_steps(report),
        resolved=_resolved(report.resolved),
        people=_people(report),
        disagreement=disagreement_table(answers),
        times=response_times(answers, quality.min_response_s),
        matrix=_matrix(report),
        contested=contested[:CONTESTED_SHOWN],
        contested_total=len(contested),
        shared=sum(len(ballot) > 1 for ballot in votes(answers).values()),
        words=words or {},
    )


def _verdict(report: BatchReport) -> dict[str, Any]:
    """The headline, its colour, and the gate's reasons apart from those that are somebody's flag."""
    by_hand = report.status == "accepted" and BY_HAND in report.reasons
    words = "was accepted by hand." if by_hand else VERDICTS[report.status]
    sentences = [flag["sentence"] for flag in report.flags]
    reasons = [r for r in report.reasons if r != BY_HAND and not any(sentence in r for sentence in sentences)]
    return {"words": words, "tone": TONES[report.status], "reasons": [*reasons, *report.notes]}


def _alpha_scale(alpha: Mapping[str, float], target: float) -> dict[str, float | None] | None:
    """Alpha with its interval, and the places of all on an axis that ends at 1; None where there is no alpha."""
    value, low, high = alpha["value"], alpha["low"], alpha["high"]
    if math.isnan(value):
        return None
    drawn = {"value": value, "target": target}
    if not math.isnan(low):
        drawn |= {"low": low, "high": high}
    start = min(0.0, math.floor(min(drawn.values()) * 10) / 10)
    places = {f"{name}_at": (number - start) / (1 - start) for name, number in drawn.items()}
    return {"low": None, "high": None, "start": start} | drawn | places


def _resolved(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """The parts of a bar of length 1, in order."""
    total = sum(counts.values())
    parts, start = [], 0.0
    for name, words in RESOLVED.items():
        if count := counts.get(name, 0):
            parts.append({"name": name, "words": words, "count": count, "start": start, "share": count / total})
            start += count / total
    return parts


def next_steps(report: BatchReport) -> list[tuple[str, str]]:
    """(what to do, the command for it) in order; the command may be empty."""
    qc = f"robopref qc --batch {report.batch_id}"
    if report.status == "open":
        return [("Let the annotators finish, then fetch their answers", "robopref pull"), ("and check again.", qc)]
    if report.status == "held":
        people = sorted({flag["annotator_id"] for flag in report.flags if flag["sentence"] in report.reasons})
        first = f"Go through the answers with {_names(people)}." if people else "Look at the contested pairs below."
        return [
            (first, ""),
            ("After corrections in Label Studio, fetch and check again.", f"robopref pull && {qc}"),
            ("Or accept the batch as it is; that is recorded.", f"{qc} --accept"),
        ]
    waiting = report.resolved.get("unresolved", 0)
    first = (
        f"Resolve the labels; a third annotator is asked about {waiting} pairs." if waiting else "Resolve the labels"
    )
    return [(first, "robopref resolve"), ("and train the reward model on them.", "robopref train")]


def _names(people: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(people[:-1]), people[-1])))


def _people(report: BatchReport) -> list[dict[str, Any]]:
    """Each annotator's figures with their flags, those with most flags first."""
    rows = [
        row | {"flags": [flag for flag in report.flags if flag["annotator_id"] == row["annotator_id"]]}
        for row in report.annotator_stats
    ]
    return sorted(rows, key=lambda row: (-len(row["flags"]), row["annotator_id"]))


def _matrix(report: BatchReport) -> list[dict[str, Any]]:
    """One row per annotator: name, and a cell (kappa, shared pairs) or None for every annotator."""
    cells = {}
    for row in report.kappa:
        cell = {"kappa": row["kappa"], "shared": row["shared"]}
        cells[row["annotator_1"], row["annotator_2"]] = cells[row["annotator_2"], row["annotator_1"]] = cell
    names = sorted({name for key in cells for name in key})
    return [{"name": name, "cells": [cells.get((name, other)) for other in names]} for name in names]


def _render(**context: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "figure": _figure,
        "share": _share,
        "seconds": _seconds,
        "percent": _percent,
        "about": _about,
    }
    source = files("qc_reports").joinpath("templates", "report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(**context)


def _figure(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def _share(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.0%}".replace("%", " %")


def _seconds(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1f} s"


def _percent(place: float) -> str:
    """A place on an axis from 0 to 1, as SVG's percentage; what lies outside is drawn at the end."""
    return f"{100 * min(max(place, 0.0), 1.0):.2f}%"


def _about(sentence: str, name: str) -> str:
    """A flag's sentence under its annotator's name, which it need not repeat."""
    rest = sentence.removeprefix(f"{name} ")
    return rest[:1].upper() + rest[1:]
