"""A batch's report as one HTML page: the figures of `qc.json` and the answers go in, the page's text comes out.

The page is self-contained: no network, one script (plotly.js, packed) named by its hash so that no other can run, and
under every figure a still picture or a table, which print, screen readers and browsers without script get. Its first
screen says whether the batch is good, who needs help and what to do next; the rest is where to look.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from preference.config import Quality
from preference.formats import known
from preference.pages import render
from preference.records import DISAGREES, Pair
from qc_reports.agreement.contested import (
    ALL,
    CONTESTED_SHOWN,
    UNKNOWN,
    Disagreement,
    contested_pairs,
    disagreement_table,
    pairing_table,
)
from qc_reports.answers import Answered, planned, votes
from qc_reports.report import plots, plots_agreement
from qc_reports.report.batch_report import stratified_pairs
from qc_reports.report.cards import cards
from qc_reports.report.clip_strips import Strips
from qc_reports.report.next_steps import next_steps
from qc_reports.report.response_times import response_times

if TYPE_CHECKING:
    from qc_reports.report.batch_report import BatchReport

VERDICTS = {"accepted": "is good.", "held": "is on hold.", "open": "is not finished."}
FILE_VERDICTS = {"accepted": "is good.", "held": "needs a second look.", "open": "is not finished."}
BY_HAND = {"accepted": "was accepted by hand.", "held": "is held by hand."}
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
    strips: Strips | None = None,
    subject: str = "This batch",
    steps: Sequence[tuple[str, str]] | None = None,
    of_file: bool = False,
    home: str = "",
    as_of: str = "",
) -> str:
    """The page of one batch.

    Args:
        answers: Those that the figures of `report` were made from.
        pairs: The batch's; empty where only the answers are known.
        quality: The thresholds to draw; default: the protocol's.
        words: Assignment → the annotator's own reason, to print beside a contested answer. Left out where a page goes
            to people who must not read them.
        strips: Filmstrips of contested pairs, from `qc_reports.report.clip_strips`.
        subject: What the verdict is about.
        steps: What to do next; default: `next_steps`.
        of_file: Of judgments from elsewhere: nobody reviews anybody, so all answers count.
        home: Address of the list of reports, where the page is served and not a file.
        as_of: When it was made, where that matters.
    """
    quality = quality or Quality()
    contested = contested_pairs(answers, pairs)
    people = _people(report)
    times = response_times(answers, quality.min_response_s)
    dropped = set(report.left_out["dropped"])
    measured = [a for a in planned(answers) if a.annotator_id not in dropped]
    disagreement = disagreement_table(measured)
    batches = [part for part in report.parts.get("batch", []) if part["name"] != "all batches"]
    groupings = _groupings(report, disagreement)
    names = sorted({answer.annotator_id for answer in planned(answers)})
    lowest = _lowest(report, quality)
    confusions = plots_agreement.confusions_of(names, report.confusions, lowest)
    figures = {
        "time": plots_agreement.alpha_figure(report.parts.get("time", []), batches, quality.min_alpha),
        "people": plots.people_figure(people, quality),
        "kappa": plots_agreement.kappa_figure(report.kappa, confusions.names),
        "confusion": plots_agreement.confusion_figure(confusions),
        "times": plots.times_figure(times, quality.min_response_s),
        "disagreement": plots.disagreement_figure(groupings),
        "confidence": plots.confidence_figure(people),
    }
    return _render(
        figures={name: figure for name, figure in figures.items() if figure},
        report=report,
        quality=quality,
        disagrees=DISAGREES,
        subject=subject,
        verdict=_verdict(report, FILE_VERDICTS if of_file else VERDICTS),
        alpha=_alpha_scale(report.alpha, quality.min_alpha),
        alpha_asked=not pairs or bool(stratified_pairs(pairs)),
        steps=next_steps(report) if steps is None else steps,
        resolved=_resolved(report.resolved),
        people=people,
        cards=cards(people, quality),
        groupings=groupings,
        overall=(disagreement.rate.loc[ALL, ALL], disagreement.pairs.loc[ALL, ALL]),
        agreement=[*report.parts.get("time", []), *(batches if len(batches) > 1 else [])],
        **_trend(report, quality.min_alpha),
        of_file=of_file,
        home=home,
        as_of=as_of,
        times=times,
        matrix=_matrix(report),
        lowest=lowest,
        widest=_widest(confusions),
        contested=contested[:CONTESTED_SHOWN],
        contested_total=len(contested),
        shared=sum(len(ballot) > 1 for ballot in votes(answers).values()),
        words=words or {},
        strips=strips or {},
    )


def _verdict(report: BatchReport, verdicts: Mapping[str, str]) -> dict[str, Any]:
    """The headline, its colour, and the gate's reasons apart from those that are somebody's flag."""
    words = BY_HAND[report.status] if report.decision else verdicts[report.status]
    sentences = [flag["sentence"] for flag in report.flags]
    reasons = [r for r in report.reasons if not any(sentence in r for sentence in sentences)]
    if held := {flag["annotator_id"] for flag in report.flags if flag["sentence"] in report.reasons}:
        needs = "needs" if len(held) == 1 else "need"
        reasons.append(f"{len(held)} of {report.annotators} annotators {needs} a review.")
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


def _trend(report: BatchReport, target: float) -> dict[str, Any]:
    """Alpha from window to window, as a line of 40 pixels that ends at 1 above and at the lowest, or 0, below."""
    values = [part["alpha"]["value"] for part in report.parts.get("time", [])]
    values = [value for value in values if known(value)]
    low = min(0.0, *values) if values else 0.0

    def down(value: float) -> float:
        return round(2 + 40 * (1 - value) / (1 - low), 1)

    steps = max(1, len(values) - 1)
    points = [
        {"x": 0.01 + 0.98 * i / steps, "y": down(v), "value": v, "below": v < target} for i, v in enumerate(values)
    ]
    return {"trend": points, "trend_target": down(target)}


def _resolved(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """The parts of a bar of length 1, in order."""
    total = sum(counts.values())
    parts, start = [], 0.0
    for name, words in RESOLVED.items():
        if count := counts.get(name, 0):
            parts.append({"name": name, "words": words, "count": count, "start": start, "share": count / total})
            start += count / total
    return parts


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


def _lowest(report: BatchReport, quality: Quality) -> list[dict[str, Any]]:
    """The kappas of those who agree least, of two who share enough pairs where any two do."""
    rows = [row for row in report.kappa if known(row["kappa"])]
    rows = [row for row in rows if row["shared"] >= quality.min_answers] or rows
    return sorted(rows, key=lambda row: (row["kappa"], row["annotator_1"], row["annotator_2"]))[:12]


def _groupings(report: BatchReport, strata: Disagreement) -> list[tuple[str, Disagreement]]:
    """Ways to look at disagreement, the one that tells most first."""
    quartiles = pairing_table(report.parts.get("quartiles", []), "quartile ")
    found = [
        ("by the quartiles of the two trajectories", quartiles),
        ("by the tiers of the two trajectories", pairing_table(report.parts.get("tiers", []))),
    ]
    if {*strata.rate.index, *strata.rate.columns} - {UNKNOWN, ALL}:
        one_row = len(strata.rate) == 2  # which is then the sum as well
        shown = Disagreement(strata.rate[:1], strata.pairs[:1]) if one_row else strata
        found.append(("by task type and stratum", shown))
    return [(words, table) for words, table in found if table]


def _widest(found: plots_agreement.Confusions) -> dict[str, Any] | None:
    """The confusion of the two who agree least, for the page without a script."""
    if found.widest is None:
        return None
    i, j = found.widest
    return {"rows": found.names[i], "columns": found.names[j], "table": found.tables[f"{i},{j}"]}


def about(sentence: str, name: str) -> str:
    """A flag's sentence under its annotator's name, which it need not repeat."""
    rest = sentence.removeprefix(f"{name} ")
    return rest[:1].upper() + rest[1:]


def _render(figures: Mapping[str, Any], **context: Any) -> str:
    from markupsafe import Markup

    script = files("qc_reports.report").joinpath("templates", "report.js").read_text(encoding="utf-8")
    bundle = plotly_bundle()
    # "<" is written as an escape, so that no text of an annotator can end the element
    data = json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return render(
        "qc_reports.report",
        "report.html.jinja",
        **context,
        drawn=set(figures),
        about=about,
        script=Markup(script),
        figures=Markup(data),
        plotly=Markup(bundle.packed),
        script_sources=f"'{script_source(script.encode())}' '{bundle.source}'",
    )


@dataclass(frozen=True)
class Bundle:
    """plotly.js for a page that must work alone: the script that the `plotly` package brings.

    Whole it is 4.8 MB of every report; gzipped and in base64 it is 2 MB, and every browser since 2023 unpacks it itself
    (DecompressionStream). The hash lets the page's Content-Security-Policy allow this script and no other.
    """

    packed: str
    """The script, gzipped, in base64."""
    source: str
    """`sha256-…`, as a Content-Security-Policy names the script."""


@lru_cache(maxsize=1)
def plotly_bundle() -> Bundle:
    """The same bytes on every call and machine with that version of plotly."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return Bundle(base64.b64encode(gzip.compress(script, 9, mtime=0)).decode(), script_source(script))


def script_source(script: bytes) -> str:
    """How a Content-Security-Policy names a script by its content."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script).digest()).decode()
