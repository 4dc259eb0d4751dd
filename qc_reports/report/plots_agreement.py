"""Figures of who agrees with whom, and when: the report's rows go in, plotly.js's `data` and `layout` come out.

As in `qc_reports.report.plots`; the confusion of two annotators is drawn from `Confusions` for the two that the
reader picks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preference.formats import known
from qc_reports.agreement.coefficients import SCALE
from qc_reports.report.plots import FRAME_PX, Figure, names_axis, plain_text, rounded, scale, short

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
    names: Sequence[str], counted: Sequence[Mapping[str, Any]], kappa: Sequence[Mapping[str, Any]], least: int
) -> Confusions:
    """
    Args:
        names: Everybody, in order.
        counted, kappa: The report's rows.
        least: `widest` shares so many pairs, where any two do.
    """
    place = {name: i for i, name in enumerate(names)}
    rows = [row for row in kappa if known(row["kappa"])]
    rows = [row for row in rows if row["shared"] >= least] or rows
    lowest = min(rows, key=lambda row: (row["kappa"], row["annotator_1"], row["annotator_2"]), default=None)
    return Confusions(
        names=list(names),
        tables={f"{place[row['annotator_1']]},{place[row['annotator_2']]}": row["counts"] for row in counted},
        widest=(place[lowest["annotator_1"]], place[lowest["annotator_2"]]) if lowest else None,
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
    text = [[f"{v:.2f}".replace("-", "−") if np.isfinite(v) else "" for v in line] for line in values]
    trace = {
        "type": "heatmap",
        "x": list(range(size)),
        "y": list(range(size)),
        "z": [[rounded(v) for v in line] for line in values],
        "text": text,
        "texttemplate": "" if large else "%{text}",
        "customdata": words.tolist(),
        "hovertemplate": "%{customdata}<extra></extra>",
        "hoverongaps": False,
        "colorscale": scale("var(--washcool)"),
        "textfont": {"color": "var(--ink)"},
        "zmin": 0,
        "zmax": 1,
        "xgap": 1 if large else 2,
        "ygap": 1 if large else 2,
        "showscale": False,
    }
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
    trace = {
        "type": "heatmap",
        "x": list(SCALE),
        "y": list(SCALE),
        "texttemplate": "%{z}",
        "hovertemplate": "%{z} pairs: %{y} and %{x}<extra></extra>",
        "colorscale": scale("var(--washcool)"),
        "textfont": {"color": "var(--ink)"},
        "xgap": 3,
        "ygap": 3,
        "showscale": False,
    }
    layout = {
        "height": 310,
        "margin": {"l": 20, "r": 12, "t": 24, "b": 12},
        "xaxis": {"side": "top", "showgrid": False, "type": "category"},
        "yaxis": {"autorange": "reversed", "showgrid": False, "type": "category"},
    }
    labels = [short(name, 32) for name in found.names]
    tables = {"names": found.names, "labels": labels, "tables": found.tables, "first": list(found.widest)}
    return {"data": [trace], "layout": layout, "confusions": tables}
