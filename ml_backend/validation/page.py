"""The page of a reward model: figures, verdict, rewards and filmstrips come in, one self-contained HTML file comes out.

Pictures are SVG and JPEG inside the file; it needs no script and no network.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool import read_episode
from importer.pool.video import clean_frames
from ml_backend.validation.probes import ground_truth, standardized
from ml_backend.validation.verdict import Check, verdict_of
from preference.errors import UserError
from preference.film_strip import film_strip
from preference.formats import known
from preference.pages import render
from preference.records import ModelVersion, Trajectory
from preference.work import progress
from preference.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ml_backend.reward.model import Dense

SHOWN = 20
"""The best and the worst trajectories as filmstrips."""
UNSURE = 10
"""Trajectories about which the ensemble's members differ most."""
PICTURES = 6
INK, GREY, ACCENT = "#2f6ca8", "#8ea3b8", "#a1420f"
PALETTE = {INK: "var(--cool)", GREY: "var(--bar)", ACCENT: "var(--held)", "#000000": "var(--ink)"}
"""What matplotlib draws in → the colour of the page, which changes in the dark."""
WIDTH, HEIGHT, EDGE = 300, 60, 4
COLOURS = {"progress": "var(--cool)", "success": "var(--held)"}


def shown_rows(trajectories: Sequence[Trajectory], rewards: np.ndarray, spread: np.ndarray) -> dict[str, list[int]]:
    """Title → rows of the trajectories that the page shows, the most telling first.

    Args:
        rewards, spread: (N,) mean and standard deviation of the ensemble's rewards.
    """
    order = np.argsort(-standardized(rewards, trajectories), kind="stable").tolist()
    unsure = np.argsort(-spread, kind="stable").tolist()
    return {"The best": order[:SHOWN], "The worst": order[::-1][:SHOWN], "The most uncertain": unsure[:UNSURE]}


def film_strips(ws: Workspace, trajectories: Sequence[Trajectory], rows: Iterable[int]) -> dict[int, str]:
    """Row → a strip of frames as a data address; rows whose images cannot be read are left out."""
    wanted = list(dict.fromkeys(rows))
    strips = {}
    with progress("Filmstrips", len(wanted)) as advance:
        for row in wanted:
            with suppress(UserError):
                strips[row] = _strip(ws, trajectories[row])
            advance(1)
    return strips


def _strip(ws: Workspace, trajectory: Trajectory) -> str:
    episode = read_episode(ws.config.pool, trajectory)
    frames, _ = clean_frames(episode, trajectory.start_s, trajectory.end_s, 1e3, PICTURES)
    return film_strip(frames)


def write_page(
    path: Path,
    record: ModelVersion,
    figures: Mapping[str, Any],
    checks: Sequence[Check],
    trajectories: Sequence[Trajectory],
    rewards: np.ndarray,
    spread: np.ndarray,
    films: Mapping[str, Sequence[int]],
    strips: Mapping[int, str],
    dense: Mapping[int, Dense],
) -> None:
    """Write the page.

    Args:
        rewards, spread: (N,) mean and standard deviation of the ensemble's rewards.
        films: From `shown_rows`.
        strips: From `film_strips`.
        dense: Row → what the model says of its steps, of those in `films`.
    """
    scale = largest(list(dense.values()))

    def shown(row: int) -> dict[str, Any]:
        t = trajectories[row]
        part = min(1.0, (t.end_s - t.start_s) / max(t.seen_s, 1e-6)) if row in strips else 1.0
        curve = curves(dense[row], scale, part, t.trajectory_id)
        found = {"t": t, "reward": rewards[row], "spread": spread[row], "strip": strips.get(row, ""), "curve": curve}
        return found | {name: f"{values.max(axis=1).mean():.2f}" for name, values in dense[row].outcomes.items()}

    text = render(
        "ml_backend.validation",
        "validation.html.jinja",
        record=record,
        f=figures,
        checks=checks,
        undecided=verdict_of(checks).startswith("Not yet known"),
        accuracies=_accuracies(figures),
        pictures={
            name: picture.replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)
            for name, words, picture in (
                ("accuracy", "Ranking accuracy; the table below has the figures", _accuracy_picture(figures)),
                ("calibration", "Said and true probability", _calibration_picture(figures["calibration"])),
                ("tiers", "Rewards by source; overlaps are below", _tier_picture(trajectories, rewards)),
                ("truth", "Reward by quality", _truth_picture(trajectories, rewards, figures["ground_truth"])),
                ("curve", "Accuracy by training pairs", _curve_picture(figures["learning_curve"])),
                ("probes", "What moves the reward", _probe_picture(figures)),
            )
        },
        films=[(title, [shown(row) for row in rows]) for title, rows in films.items()],
        outcomes=list(next(iter(dense.values())).outcomes) if dense else [],
        measured=figures.get("outcomes") or {},
        contradictory=figures.get("contradictory") or [],
    )
    path.write_text(text, encoding="utf-8")


def _accuracies(figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every ranking accuracy with its name, the test pairs first."""
    rows = [
        ("test pairs", figures["ranking_accuracy"]),
        ("all pairs, cross-validated", figures["cross_validated"]),
        ("pairs of unseen trajectories", figures["unseen_trajectories"]),
    ]
    for kind in ("by_stratum", "by_task_type"):
        rows += [(f"test pairs, {name}", value) for name, value in figures[kind].items()]
    return [(name, row) for name, row in rows if row["pairs"]]


def _accuracy_picture(figures: Mapping[str, Any]) -> str:
    rows = _accuracies(figures)[::-1]
    axes = _axes(6.4, 0.5 + 0.34 * len(rows))
    for place, (_, row) in enumerate(rows):
        axes.plot([row["low"], row["high"]], [place, place], color=INK, lw=2)
        axes.plot(row["value"], place, "o", color=INK)
    axes.axvline(figures["target"], color=ACCENT, lw=1)
    ceiling = figures["noise_ceiling"]
    if known(ceiling["value"]):
        axes.axvspan(ceiling["value"], 1.0, color=GREY, alpha=0.25)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_xlim(min(0.45, *(row["low"] for _, row in rows)), 1.0)
    axes.set_xlabel("ranking accuracy (red: the target; grey: beyond a perfect model)")
    return _svg(axes)


def _calibration_picture(found: Mapping[str, Any]) -> str:
    axes = _axes(3.6, 3.2)
    axes.plot([0.5, 1], [0.5, 1], color=GREY, lw=1)
    axes.plot([b["predicted"] for b in found["bins"]], [b["observed"] for b in found["bins"]], "o-", color=INK)
    axes.set_xlabel("the model's probability")
    axes.set_ylabel("how often it is right")
    return _svg(axes)


def _tier_picture(trajectories: Sequence[Trajectory], rewards: np.ndarray) -> str:
    z = standardized(rewards, trajectories)
    tiers: dict[str, list[float]] = {}
    for value, trajectory in zip(z.tolist(), trajectories, strict=True):
        tiers.setdefault(trajectory.tier or trajectory.source, []).append(value)
    ranked = sorted(tiers, key=lambda tier: float(np.mean(tiers[tier])))
    axes = _axes(6.4, 0.6 + 0.6 * len(ranked))
    edges = np.linspace(z.min(), z.max() + 1e-9, 31)
    for place, tier in enumerate(ranked):
        counts, _ = np.histogram(tiers[tier], edges)
        axes.fill_between(edges[:-1], place, place + 0.85 * counts / max(1, counts.max()), step="post", color=INK)
    axes.set_yticks(range(len(ranked)), ranked)
    axes.set_xlabel("reward, standardized within the task type")
    return _svg(axes)


def _truth_picture(trajectories: Sequence[Trajectory], rewards: np.ndarray, words: str) -> str:
    truth = ground_truth(trajectories)
    axes = _axes(3.6, 3.2)
    for number, task in enumerate(sorted({t.task_type for t in trajectories})):
        rows = [i for i, t in enumerate(trajectories) if t.task_type == task]
        axes.plot(truth[rows], rewards[rows], ".", color=f"C{number}", label=task)
    axes.set_xlabel(words)
    axes.set_ylabel("reward")
    axes.legend(fontsize="x-small", frameon=False)
    return _svg(axes)


def _curve_picture(found: Mapping[str, Any]) -> str:
    points = found["points"]
    axes = _axes(3.6, 3.2)
    axes.plot([p["pairs"] for p in points], [p["accuracy"] for p in points], "o", color=INK)
    if math.isfinite(found["limit"]):
        sizes = np.linspace(points[0]["pairs"], 3 * points[-1]["pairs"], 100)
        axes.plot(sizes, found["limit"] - found["slope"] / np.sqrt(sizes), color=GREY, lw=1)
    axes.set_xlabel("training pairs")
    axes.set_ylabel("accuracy on the test pairs")
    return _svg(axes)


def _probe_picture(figures: Mapping[str, Any]) -> str:
    rows = [(name, probe["partial_correlation"], None, probe) for name, probe in figures["probes"].items()]
    rows += [
        (name, probe["mean_change_sd"], (probe["low"], probe["high"]), probe)
        for name, probe in figures["counterfactuals"].items()
    ]
    axes = _axes(6.4, 0.5 + 0.3 * len(rows))
    for place, (_, value, interval, probe) in enumerate(rows[::-1]):
        colour = ACCENT if probe["fires"] else INK
        axes.barh(place, value, color=colour, height=0.6)
        if interval:
            axes.plot(interval, [place, place], color="black", lw=1)
    for edge in {side * probe["threshold"] for *_, probe in rows for side in (-1, 1)}:
        axes.axvline(edge, color=ACCENT, lw=1)
    axes.axvline(0, color=GREY, lw=1)
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name, *_ in rows[::-1]])
    axes.set_xlabel("partial correlation, or change in reward in standard deviations")
    return _svg(axes)


def _axes(width: float, height: float) -> Axes:
    """Not pyplot's: that keeps a figure for ever, and looks for a display."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(width, height), layout="constrained").add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    return axes


def _svg(axes: Axes) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "robopref", "svg.fonttype": "none", "font.family": "sans-serif"}):
        whole: Any = axes.get_figure(root=True)
        whole.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    for drawn, shown in PALETTE.items():
        text = text.replace(drawn, shown)
    return text[text.index("<svg") :]


def largest(dense: Sequence[Dense]) -> float:
    """The largest mean step reward of several trajectories, with its spread; one scale for all their curves."""
    return max((float((np.abs(mean) + sd).max()) for mean, sd in map(_rate, dense)), default=1.0) or 1.0


def curves(dense: Dense, scale: float, shown: float, name: str) -> str:
    """An SVG as wide as the filmstrip below it.

    Args:
        scale: `largest` of all that are shown.
        shown: Share of the trajectory's time that the filmstrip covers; the model sees it to its end.
        name: Of the trajectory, for those who cannot see the picture.
    """
    mean, sd = _rate(dense)
    x = np.linspace(0.0, 1.0, len(mean)) / max(shown, 1e-6) if len(mean) > 1 else np.zeros(1)
    inside = x <= 1.0 + 1e-6
    x = x[inside] * WIDTH

    def height(value: np.ndarray, low: float, high: float) -> np.ndarray:
        part = np.clip((value[inside] - low) / (high - low), 0.0, 1.0)
        return HEIGHT - EDGE - part * (HEIGHT - 2 * EDGE)

    upper, lower = (height(mean + side * sd, -scale, scale) for side in (1.0, -1.0))
    parts = [
        f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT / 2}" y2="{HEIGHT / 2}" stroke="var(--bar)" stroke-dasharray="2 3"/>',
        f'<polygon points="{_points(np.r_[x, x[::-1]], np.r_[upper, lower[::-1]])}" fill="var(--bar)" opacity="0.5"/>',
        _line(x, height(mean, -scale, scale), "var(--ink)"),
    ]
    words = [f"{name}: reward of the steps from {mean.min():z.2f} to {mean.max():z.2f}"]
    for outcome, values in dense.outcomes.items():
        said = values.mean(axis=0)
        parts.append(_line(x, height(said, 0.0, 1.0), COLOURS[outcome]))
        words.append(f"{outcome} up to {said.max():.2f} ± {values.std(axis=0)[said.argmax()]:.2f}")
    return (
        f'<svg class="steps" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape("; ".join(words), quote=True)}">{"".join(parts)}</svg>'
    )


def _rate(dense: Dense) -> tuple[np.ndarray, np.ndarray]:
    """(T,) mean and (T,) spread of the rewards of steps, each as if it were the whole trajectory."""
    rewards = dense.rewards * dense.rewards.shape[1]
    return rewards.mean(axis=0), rewards.std(axis=0)


def _line(x: np.ndarray, y: np.ndarray, colour: str) -> str:
    style = f'fill="none" stroke="{colour}" stroke-width="1.5" vector-effect="non-scaling-stroke"'
    return f'<polyline points="{_points(x, y)}" {style}/>'


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
