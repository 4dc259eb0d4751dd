"""Figures of the report's `parts`: agreement over time and by batch, disagreement by two quartiles or two tiers.

Rows of `BatchReport.parts` go in; plotly.js's `data` and `layout` (see `qc_reports.report.plots`), and for tables
the same as
cells, come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preference.formats import known, moment
from qc_reports.agreement.contested import Cell, Disagreement
from qc_reports.report.plots import Figure, line_at, plain_text, rounded

Parts = Sequence[Mapping[str, Any]]
NONE = Cell(float("nan"), 0)


def agreement_figure(time: Parts, batches: Parts, target: float) -> Figure | None:
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
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [rounded(a["high"] - a["value"]) for a in alphas],
            "arrayminus": [rounded(a["value"] - a["low"]) for a in alphas],
            "color": "var(--bar)",
            "thickness": 2,
            "width": 0,
        },
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


def pairing(rows: Parts, prefix: str = "") -> Disagreement | None:
    """The disagreement of parts called `x / y` as a square table, each pairing once; None without any.

    Args:
        prefix: What stands before each name in the table.
    """
    cells = {tuple(row["name"].split(" / ")): Cell(row["disagreement"], row["pairs"]) for row in rows if row["pairs"]}
    cells = {names: cell for names, cell in cells.items() if len(names) == 2}
    if not cells:
        return None
    names = sorted({name for two in cells for name in two})
    table = [(prefix + first, [cells.get((first, second), NONE) for second in names], NONE) for first in names]
    return Disagreement([prefix + name for name in names], table, [], NONE)
