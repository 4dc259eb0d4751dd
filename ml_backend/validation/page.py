"""The verdict on a reward model, and its page: figures, rewards and filmstrips come in, one self-contained HTML file
comes out.

Pictures are SVG and JPEG inside the file; it needs no script and no network.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool import read_episode
from importer.pool.video import clean_frames
from ml_backend.validation.accuracy import TARGETS
from ml_backend.validation.curves import curves, largest
from ml_backend.validation.probes import HACKING, ground_truth, standardized
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
MOST_OVERLAP = 0.2
"""Of a random trajectory over an expert's: the two ends of the pool, which any useful reward tells apart."""
MISCALIBRATED = 0.05
"""Expected calibration error that a model may have."""
SAID = {
    "still_frames_added": "still frames added",
    "slowed_down": "everything twice as slow",
    "cut": "the last third cut off",
    "gripper_closed": "the gripper closed throughout",
}


@dataclass(frozen=True)
class Check:
    """One thing that a model has to reach before it is used."""

    what: str
    found: float
    target: float
    reached: bool
    words: str
    known: bool = True
    """False where there are too few pairs to say whether it was reached."""


def verdict_of(checks: Sequence[Check]) -> str:
    """What was missed, in words; `Not yet known:` where nothing was, but pairs are too few to be sure."""
    missed = [one for one in checks if not one.reached]
    words = " ".join(one.words for one in missed)
    if missed and not any(one.known for one in missed):
        return f"Not yet known: {words}"
    return words or "Everything that was looked at is as it should be."


def check(figures: dict[str, Any]) -> list[Check]:
    """The verdict, one check after the other; a figure that could not be measured does not reach its target."""
    accuracy, spearman = figures["ranking_accuracy"], figures["spearman"]
    low, high = (_words(accuracy[name]) for name in ("low", "high"))
    checks = [
        _at_least(
            "ranking accuracy", accuracy["value"], figures["target"],
            f"Ranking accuracy on {accuracy['pairs']} test pairs is {_words(accuracy['value'])} ({low} to {high})",
        ),
        _at_least(
            "Spearman", spearman, TARGETS["spearman"],
            f"Spearman's correlation with the {figures['ground_truth']} is {_words(spearman)}",
        ),
    ]  # fmt: skip
    checks[0] = _sure(checks[0], [accuracy, figures.get("cross_validated")], figures["target"])
    checks += [*_unseen(figures), *_calibration(figures)]
    overlap = figures.get("tiers", {}).get("random_over_expert")
    if known(overlap):
        words = f"A random trajectory has a higher reward than an expert's with probability {_words(overlap)}"
        reached = overlap <= MOST_OVERLAP
        checks.append(
            Check("random over expert", overlap, MOST_OVERLAP, reached,
                  f"{words}, {'at most' if reached else 'above'} {MOST_OVERLAP:.2f}.")
        )  # fmt: skip
    for name, probe in figures["probes"].items():
        value = probe["partial_correlation"]
        words = f"The reward {'follows' if probe['fires'] else 'does not follow'} {_spoken(name)} beyond quality: "
        checks.append(Check(_spoken(name), value, HACKING, not probe["fires"], f"{words}{_words(value)}."))
    for name, probe in figures["counterfactuals"].items():
        value = probe["mean_change_sd"]
        words = f"With {SAID[name]} the reward changes by {_words(value)} standard deviations"
        words += ": it can be gamed." if probe["fires"] else "."
        checks.append(Check(SAID[name], value, HACKING, not probe["fires"], words))
    return checks


def _sure(found: Check, intervals: Sequence[Mapping[str, Any] | None], target: float) -> Check:
    """Reached only if the interval of the test pairs, or that of all pairs by cross-validation, is above the target."""
    if not found.reached or any(one and (one["low"] or 0.0) >= target for one in intervals):
        return found
    words = f"{found.words.rstrip('.')}, but its interval reaches below: more labels decide."
    return replace(found, reached=False, words=words, known=False)


def _unseen(figures: Mapping[str, Any]) -> list[Check]:
    found = figures.get("unseen_trajectories")
    if not found or not known(found["high"]):
        return []
    reached, target = bool(found["high"] >= figures["target"]), figures["target"]
    words = f"On {found['pairs']} pairs of trajectories never trained on it is {_words(found['value'])}"
    return [Check("unseen trajectories", found["value"], target, reached,
                  f"{words}, {'which may be' if reached else 'certainly below'} {target:.2f}.")]  # fmt: skip


def _calibration(figures: Mapping[str, Any]) -> list[Check]:
    """Wrong by more than `MISCALIBRATED` and by more than chance gives a calibrated model on so many pairs."""
    found = figures.get("calibration")
    if not found or not known(found["error"]) or "by_chance" not in found:
        return []
    most = max(MISCALIBRATED, found["by_chance"])
    reached = bool(found["error"] <= most)
    words = f"Its probabilities are off by {_words(found['error'])}, {'at most' if reached else 'above'} {most:.2f}"
    chance = f" (on {found['pairs']} pairs a calibrated model shows {_words(found['floor'])}, and up to that by chance)"
    words += f"{chance}." if found["by_chance"] > MISCALIBRATED else "."
    return [Check("calibration error", found["error"], most, reached, words)]


def _at_least(what: str, found: float | None, target: float, words: str) -> Check:
    value = float("nan") if found is None else found
    reached = bool(value >= target)
    return Check(what, value, target, reached, f"{words}, {'at least' if reached else 'below'} {target:.2f}.")


def _spoken(name: str) -> str:
    return name.replace("_", " ").replace("closed gripper", "closed-gripper time")


def _words(value: float | None) -> str:
    return "unknown" if value is None or value != value else f"{value:z.2f}"


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
