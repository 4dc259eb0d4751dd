"""The figures that a person explores: what the report knows goes in, plotly.js's `data` and `layout` come out.

Plain dictionaries, drawn by templates/report.js in the page. A figure is `{"data", "layout"}`, or `{"choices"}`: a
list of these, each with a `label`, among which the reader picks. Colours are names of the page's own (`var(--cool)`),
so that they follow its dark mode.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from preference.config import Quality
from preference.formats import known, share
from qc_reports.agreement.contested import Disagreement
from qc_reports.report.response_times import ResponseTimes

Figure = dict[str, Any]
ROW_PX, FRAME_PX = 24, 70
LINES = 12
"""More annotators than colours and dashes can tell apart: their times become rows of a heat map."""
BY_CHANCE = 0.05
DASHES = ("solid", "dash", "dot", "dashdot")
COLOURS = ("var(--cool)", "var(--hot)", "var(--good)", "var(--ink)")
MEASURES = (
    ("gold_agreement", "Right on gold pairs", "gold", "gold"),
    ("self_consistency", "Repeats itself", "duplicates", "self_consistency"),
    ("majority_agreement", "With the majority of the others", "majority", "majority"),
    ("peer_agreement", "With each other annotator", "peers", ""),
    ("too_fast", "Answers that came too fast", "timed", "speed"),
    ("left_share", "Took the left side", "sided", "side_bias"),
    ("tie_rate", "Said equal", "answers", "one_answer"),
)  # fmt: skip
"""(share in annotator_stats, words, how many answers it rests on, kind of its flag)."""


def people_figure(people: Sequence[Mapping[str, Any]], quality: Quality) -> Figure | None:
    """Every annotator's shares with their intervals beside the threshold; one measure at a time.

    Args:
        people: Rows of annotator_stats, each with its `flags`.
    """
    limits = {
        "gold_agreement": 1 - quality.max_gold_disagreement,
        "self_consistency": quality.min_self_consistency,
        "majority_agreement": quality.min_majority_agreement,
        "left_share": 0.5,
    }
    choices = []
    for key, words, count, kind in MEASURES:
        rows = [row for row in people if known(row[key])]
        if rows:
            rows.sort(key=lambda row: row[key], reverse=True)
            choices.append({"label": words, **_forest(rows, key, count, kind, limits.get(key))})
    return {"choices": choices} if choices else None


def _forest(rows: Sequence[Mapping[str, Any]], key: str, count: str, kind: str, limit: float | None) -> Figure:
    flagged = [any(flag["kind"] == kind for flag in row["flags"]) for row in rows]
    intervals = [row["intervals"].get(key, [row[key], row[key]]) for row in rows]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [rounded(row[key]) for row in rows],
        "y": list(range(len(rows))),
        "error_x": whiskers([row[key] for row in rows], *zip(*intervals, strict=True)),
        "marker": {
            "size": 10,
            "symbol": ["diamond" if bad else "circle" for bad in flagged],
            "color": ["var(--held)" if bad else "var(--cool)" for bad in flagged],
        },
        "text": [
            f"<b>{plain_text(row['annotator_id'])}</b>{' · flagged' if bad else ''}<br>{row[key]:.0%} of {row[count]}"
            f"<br>95 % interval {low:.0%} to {high:.0%}"
            for row, bad, (low, high) in zip(rows, flagged, intervals, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
    layout = {
        "height": FRAME_PX + ROW_PX * len(rows),
        "xaxis": {"range": [-0.03, 1.03], "tickformat": ".0%", "zeroline": False},
        "yaxis": names_axis([row["annotator_id"] for row in rows]) | {"showgrid": False},
        "shapes": [] if limit is None else [line_at(limit)],
    }
    return {"data": [trace], "layout": layout}


def times_figure(times: ResponseTimes, limit_s: float) -> Figure | None:
    """How long each annotator takes, on a logarithmic axis of seconds."""
    if not times.people:
        return None
    middles = [math.sqrt(low * high) for low, high in zip(times.edges_s, times.edges_s[1:], strict=False)]
    axis = {
        "type": "log",
        "range": [math.log10(times.edges_s[0]), math.log10(times.edges_s[-1])],
        "tickvals": [1, 3, 10, 30, 120],
        "ticktext": ["1 s", "3 s", "10 s", "30 s", "2 min"],
    }
    spans = [f"{low:.1f} to {high:.1f} s" for low, high in zip(times.edges_s, times.edges_s[1:], strict=False)]
    draw = _time_lines if len(times.people) <= LINES else _time_rows
    figure = draw(times, middles, spans)
    figure["layout"] |= {"xaxis": axis, "shapes": [line_at(limit_s)]}
    return figure


def _time_lines(times: ResponseTimes, middles: Sequence[float], spans: Sequence[str]) -> Figure:
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": plain_text(person.annotator_id),
            "x": [rounded(value) for value in middles],
            "y": [rounded(count / person.answers) for count in person.counts],
            "customdata": [[span, count] for span, count in zip(spans, person.counts, strict=True)],
            "hovertemplate": "%{customdata[0]}: %{customdata[1]} answers",
            "line": {
                "width": 2,
                "color": COLOURS[place % len(COLOURS)],
                "dash": DASHES[place // len(COLOURS) % len(DASHES)],
            },
        }
        for place, person in enumerate(times.people)
    ]
    legend = {"orientation": "h", "y": -0.16, "yanchor": "top"}
    layout = {
        "height": 380,
        "showlegend": True,
        "legend": legend,
        "yaxis": {"tickformat": ".0%", "rangemode": "tozero"},
    }
    return {"data": data, "layout": layout}


def _time_rows(times: ResponseTimes, middles: Sequence[float], spans: Sequence[str]) -> Figure:
    people = times.people[::-1]
    shares = np.array([person.counts for person in people]) / [[person.answers] for person in people]
    trace = heatmap(
        shares,
        "var(--washcool)",
        gap=0,
        x=[rounded(value) for value in middles],
        zmax=rounded(shares.max()),
        customdata=[
            [f"{plain_text(p.annotator_id)}<br>{span}: {count} answers"
             for span, count in zip(spans, p.counts, strict=True)]
            for p in people
        ],
    )  # fmt: skip
    layout = {"height": FRAME_PX + 18 * len(people), "yaxis": names_axis([person.annotator_id for person in people])}
    return {"data": [trace], "layout": layout}


def confidence_figure(people: Sequence[Mapping[str, Any]]) -> Figure | None:
    """How each annotator uses the scale from 1 to 5, as shares of their answers."""
    rows = [row for row in people if sum(row["confidence_counts"])][::-1]
    if not rows:
        return None
    meaning = [
        f"{short(row['annotator_id'])} {share(row['confidence_auc'])}{'*' if row['confidence_p'] < BY_CHANCE else ''}"
        if known(row["confidence_auc"])
        else short(row["annotator_id"])
        for row in rows
    ]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": f"{step + 1}",
            "y": list(range(len(rows))),
            "x": [rounded(row["confidence_counts"][step] / sum(row["confidence_counts"])) for row in rows],
            "text": [str(row["confidence_counts"][step]) for row in rows],
            "textposition": "none",
            "hovertemplate": f"confidence {step + 1}: " + "%{text} answers, %{x:.0%}<extra></extra>",
            "marker": {"color": f"var(--s{'abcde'[step]})"},
        }
        for step in range(5)
    ]
    layout = {
        "height": FRAME_PX + 30 + ROW_PX * len(rows),
        "barmode": "stack",
        "bargap": 0.25,
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "xaxis": {"tickformat": ".0%", "range": [0, 1]},
        "yaxis": names_axis(meaning) | {"ticktext": meaning, "showgrid": False},
    }
    return {"data": data, "layout": layout}


def disagreement_figure(tables: Sequence[tuple[str, Disagreement]]) -> Figure | None:
    """Heat maps of how often annotators differ, one for each way of grouping the pairs: (words, table)."""
    choices = [{"label": words, **_heat(table)} for words, table in tables]
    return {"choices": choices} if choices else None


def _heat(table: Disagreement) -> Figure:
    """The rows of a table from above, which are counted from below in a figure."""
    rate, pairs = table.rate[::-1], table.pairs[::-1]

    def words(name: str, column: str) -> str:
        n = pairs.loc[name, column]
        what = f"differ on {rate.loc[name, column]:.0%} of {n} pairs" if n else "no pair with two answers"
        return f"{plain_text(name)} · {plain_text(column)}<br>{what}"

    trace = heatmap(
        rate.to_numpy(),
        "var(--washhot)",
        text=[[share(value) if known(value) else "" for value in row] for row in rate.to_numpy()],
        texttemplate="%{text}",
        customdata=[[words(name, column) for column in rate.columns] for name in rate.index],
        gap=3,
    )
    layout = {
        "height": FRAME_PX + 46 * len(rate),
        "xaxis": {"tickvals": list(range(len(rate.columns))), "ticktext": [short(c) for c in rate.columns],
                  "showgrid": False},
        "yaxis": names_axis(rate.index) | {"showgrid": False},
    }  # fmt: skip
    return {"data": [trace], "layout": layout}


def heatmap(z: np.ndarray, colour: str, *, gap: int, **more: Any) -> Figure:
    """Shares from 0 to 1 as cells; `customdata` is what is told of a cell that is pointed at."""
    return {
        "type": "heatmap",
        "x": list(range(z.shape[1])),
        "y": list(range(z.shape[0])),
        "z": [[rounded(value) for value in row] for row in z],
        "hovertemplate": "%{customdata}<extra></extra>",
        "colorscale": [[0, "var(--card)"], [1, colour]],
        "textfont": {"color": "var(--ink)"},
        "zmin": 0,
        "zmax": 1,
        "xgap": gap,
        "ygap": gap,
        "showscale": False,
    } | more


def whiskers(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> dict[str, Any]:
    """Error bars from each value to the ends of its interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [rounded(high - value) for value, high in zip(values, highs, strict=True)],
        "arrayminus": [rounded(value - low) for value, low in zip(values, lows, strict=True)],
        "color": "var(--bar)",
        "thickness": 2,
        "width": 0,
    }


def names_axis(names: Collection[str]) -> dict[str, Any]:
    """A vertical axis with a name at 0, 1, 2, …, from below."""
    return {"tickvals": list(range(len(names))), "ticktext": [short(name) for name in names],
            "range": [-0.6, len(names) - 0.4]}  # fmt: skip


def line_at(x: float) -> dict[str, Any]:
    """A dashed line up the whole figure, as every threshold is drawn."""
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": "var(--held)", "width": 1.5, "dash": "dash"}}  # fmt: skip


def short(name: str, most: int = 20) -> str:
    """A name as a label: plotly.js reads a few tags in labels, and a long one leaves no room for the figure."""
    return plain_text(name if len(name) <= most else name[: most - 1] + "…")


def plain_text(words: str) -> str:
    return html.escape(words, quote=False)


def rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
