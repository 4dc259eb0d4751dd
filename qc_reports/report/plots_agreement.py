"""Figures of agreement, of every two and over time: the report's rows go in, plotly.js's `data` and `layout` come out.

As in `qc_reports.report.plots`; the confusion of two annotators is drawn from `Confusions` for the two that the
reader picks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preference.formats import figure, known, moment
from qc_reports.agreement.coefficients import SCALE
from qc_reports.report.plots import FRAME_PX, Figure, heatmap, line_at, names_axis, plain_text, rounded, short, whiskers

WRITTEN = 12
"""Up to so many annotators the figure is written into each cell; beyond, it is told when a cell is pointed at, and the
matrix takes the page's whole width."""
CELL_PX, NAMES_PX = 14, 150
"""Of a larger matrix: the least width of a cell, in which a name can be written upright, and the names beside it."""


@dataclass(frozen=True)
class Confusions:
    """What every two annotators said to the pairs that both answered."""

    names: list[str]
    tables: dict[str, list[list[int]]]
    """"i,j" with i < j → (3, 3) counts over A, equal, B: rows what names[i] said, columns what names[j] said."""
    widest: tuple[int, int] | None
    """The two with the lowest kappa."""


def confusions_of(
    names: Sequence[str], counted: Sequence[Mapping[str, Any]], lowest: Sequence[Mapping[str, Any]]
) -> Confusions:
    """
    Args:
        names: Everybody, in order.
        counted: The report's rows.
        lowest: Kappas, the lowest first.
    """
    place = {name: i for i, name in enumerate(names)}
    return Confusions(
        names=list(names),
        tables={f"{place[row['annotator_1']]},{place[row['annotator_2']]}": row["counts"] for row in counted},
        widest=next(((place[row["annotator_1"]], place[row["annotator_2"]]) for row in lowest), None),
    )


def kappa_figure(kappa: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure | None:
    """Cohen's kappa of every two as a heat map; a click on a cell shows their confusion."""
    if not kappa:
        return None
    place = {name: i for i, name in enumerate(names)}
    size = len(names)
    large = size > WRITTEN
    values = np.full((size, size), np.nan)
    words = np.full((size, size), "", dtype=object)
    for row in kappa:
        i, j = place[row["annotator_1"]], place[row["annotator_2"]]
        values[i, j] = values[j, i] = row["kappa"] if known(row["kappa"]) else np.nan
        said = f"{plain_text(row['annotator_1'])} and {plain_text(row['annotator_2'])}<br>"
        words[i, j] = words[j, i] = said + f"kappa {rounded(values[i, j])} on {row['shared']} shared pairs"
    text = [[figure(v) if known(v) else "" for v in line] for line in values]
    trace = heatmap(
        values,
        "var(--washcool)",
        text=text,
        texttemplate="" if large else "%{text}",
        customdata=words.tolist(),
        hoverongaps=False,
        gap=1 if large else 2,
    )
    down = names_axis(names)
    layout = {
        "height": FRAME_PX + 60 + max(CELL_PX, 36 - size) * size,
        "least_px": NAMES_PX + CELL_PX * size if large else 0,
        "xaxis": {"tickvals": down["tickvals"], "ticktext": [short(n, 12) for n in names], "showgrid": False,
                  "tickangle": -90 if large else -45},
        "yaxis": down | {"range": down["range"][::-1], "showgrid": False},
    }  # fmt: skip
    return {"data": [trace], "layout": layout}


def confusion_figure(found: Confusions) -> Figure | None:
    """The frame of a confusion table, and the tables that fill it; the page's script fills it for two annotators."""
    if found.widest is None:
        return None
    trace = heatmap(
        np.zeros((3, 3)),
        "var(--washcool)",
        x=list(SCALE),
        y=list(SCALE),
        texttemplate="%{z}",
        hovertemplate="%{z} pairs: %{y} and %{x}<extra></extra>",
        zmin=None,
        zmax=None,
        gap=3,
    )
    layout = {
        "height": 310,
        "margin": {"l": 20, "r": 12, "t": 24, "b": 12},
        "xaxis": {"side": "top", "showgrid": False, "type": "category"},
        "yaxis": {"autorange": "reversed", "showgrid": False, "type": "category"},
    }
    labels = [short(name, 32) for name in found.names]
    tables = {"names": found.names, "labels": labels, "tables": found.tables, "first": list(found.widest)}
    return {"data": [trace], "layout": layout, "confusions": tables}


Parts = Sequence[Mapping[str, Any]]


def alpha_figure(time: Parts, batches: Parts, target: float) -> Figure | None:
    """Alpha with its interval, window by window, and batch by batch where there are several."""
    choices = []
    if len(windows := [part for part in time if known(part["alpha"]["value"])]) > 1:
        choices.append({"label": "over time", **_line(windows, target, dated=True)})
    if len(groups := [part for part in batches if known(part["alpha"]["value"])]) > 1:
        choices.append({"label": "by batch", **_line(groups, target, dated=False)})
    return {"choices": choices} if choices else None


def _line(rows: Parts, target: float, *, dated: bool) -> Figure:
    alphas = [row["alpha"] for row in rows]
    trace = {
        "type": "scatter",
        "mode": "lines+markers" if dated else "markers",
        "x": [row["name"][:19] if dated else place for place, row in enumerate(rows)],
        "y": [rounded(alpha["value"]) for alpha in alphas],
        "error_y": whiskers(*([alpha[key] for alpha in alphas] for key in ("value", "low", "high"))),
        "line": {"color": "var(--cool)", "width": 2},
        "marker": {
            "size": 10,
            "color": ["var(--cool)" if a["value"] >= target else "var(--held)" for a in alphas],
            "symbol": ["circle" if a["value"] >= target else "diamond" for a in alphas],
        },
        "text": [
            f"{plain_text(moment(row['name']) if dated else row['name'])}<br>alpha {a['value']:.2f} "
            f"({a['low']:.2f} to {a['high']:.2f})<br>{row['pairs']} pairs, disagreement {row['disagreement']:.0%}"
            for row, a in zip(rows, alphas, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
    lows = [a["low"] for a in alphas if known(a["low"])]
    across = {"type": "date"} if dated else {
        "tickvals": list(range(len(rows))), "ticktext": [plain_text(row["name"]) for row in rows],
        "range": [-0.5, len(rows) - 0.5],
    }  # fmt: skip
    level = line_at(target) | {"x0": 0, "x1": 1, "xref": "paper", "y0": target, "y1": target, "yref": "y"}
    layout = {
        "height": 300,
        "zoom": dated,
        "xaxis": across | {"showgrid": False},
        "yaxis": {"range": [min([0.0, *lows]) - 0.03, 1.03], "title": {"text": "alpha"}},
        "shapes": [level],
    }
    return {"data": [trace], "layout": layout}
