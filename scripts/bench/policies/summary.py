"""What the trials say: for each arm success, and success within half the time; differences between arms, paired.

Trials (task, seed) in, figures out. Two arms are compared within each trial, on the same pool and the same starts;
intervals are over trials drawn again, and of each trial its starts (bootstrap, 95 %).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sample_pool.rollout import ROWS

from policies.trial import CHOOSING, CORE, EVERYTHING, OURS, PEER_ARMS, SUCCESSES, TRUTH

DRAWS, HALF = 2_000, ROWS // 2
Trials = Mapping[tuple[str, int], Mapping[str, Sequence[int]]]
"""(task, seed) → arm → the row in which each start arrived; ROWS = never."""
LEVEL, OVER_SUCCESSES, OVER_EVERYTHING, OVER_PEERS, LEAST = 0.95, 0.20, 0.70, 0.15, 0.85
TARGET = (
    "best 30 % by our reward: at least 95 % of cloning on the true return, 20 points ahead of true successes within "
    "half the time, 70 of everything, 15 of each peer's reward, no task under 85 %"
)


def rates(trials: Trials, arm: str, within: int = ROWS) -> np.ndarray:
    """(trials, starts) 1.0 where the arm arrived before the row `within`."""
    return np.array([np.asarray(trial[arm]) < within for trial in trials.values()], dtype=float)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % of (trials, starts): success, or the difference of two arms."""
    rng = np.random.default_rng(0)
    n, starts = values.shape
    drawn = rng.integers(n, size=(DRAWS, n))
    columns = rng.integers(starts, size=(DRAWS, n, starts))
    means = values[drawn[:, :, None], columns].mean(axis=(1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def figures(trials: Trials) -> dict[str, Any]:
    """Of every arm that all trials have, and of those that only some have, with the trials they are of."""
    tasks = sorted({task for task, _ in trials})
    found: dict[str, Any] = {}
    for arm in dict.fromkeys(name for trial in trials.values() for name in trial):
        having = {key: trial for key, trial in trials.items() if arm in trial}
        own: dict[str, Any] = {"trials": len(having)}
        for name, within in (("success", ROWS), ("half the time", HALF)):
            mean, low, high = interval(rates(having, arm, within))
            own[name] = round(mean, 4)
            own[f"{name} 95"] = [round(low, 4), round(high, 4)]
        own["tasks"] = {
            task: round(float(rates(some, arm).mean()), 4)
            for task in tasks
            if (some := {key: trial for key, trial in having.items() if key[0] == task})
        }
        found[arm] = own
    return found


def leads(trials: Trials) -> dict[str, list[float]]:
    """How far ours is ahead: mean, and the ends of its interval."""
    pairs = {EVERYTHING: ROWS, **dict.fromkeys(PEER_ARMS, ROWS), TRUTH: ROWS, SUCCESSES: HALF, CHOOSING: ROWS}
    found = {}
    for arm, within in pairs.items():
        ahead = rates(trials, OURS, within) - rates(trials, arm, within)
        found[f"{arm}{', half the time' if within == HALF else ''}"] = [round(v, 4) for v in interval(ahead)]
    return found


def missed(trials: Trials) -> list[str]:
    """The parts of the target that are not reached."""
    found, ahead = figures(trials), leads(trials)
    own = found[OURS]
    checks = {
        f"{own['success'] / max(found[TRUTH]['success'], 1e-9):.0%} of cloning on the true return":
            own["success"] >= LEVEL * found[TRUTH]["success"],
        f"{100 * ahead[f'{SUCCESSES}, half the time'][0]:+.0f} points on true successes within half the time":
            ahead[f"{SUCCESSES}, half the time"][0] >= OVER_SUCCESSES,
        f"{100 * ahead[EVERYTHING][0]:+.0f} points on everything": ahead[EVERYTHING][0] >= OVER_EVERYTHING,
    }  # fmt: skip
    checks |= {f"{100 * ahead[arm][0]:+.0f} points on {arm}": ahead[arm][0] >= OVER_PEERS for arm in PEER_ARMS}
    checks |= {f"{task}: {value:.0%}": value >= LEAST for task, value in own["tasks"].items()}
    return [what for what, reached in checks.items() if not reached]


def table(trials: Trials, facts: Mapping[tuple[str, int], Mapping[str, Any]]) -> str:
    """As Markdown: success in percent, within half the time, and what the policy learned the way from.

    Args:
        facts: (task, seed) → arm → what a trial says beside the starts.
    """
    found = figures(trials)
    tasks = sorted({task for task, _ in trials})
    names = [name for name in CORE if name in found] + [name for name in found if name not in CORE]
    heads = ["cloned from", "success (95 %)", "within half the time (95 %)", *tasks, "the way", "trials"]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for name in names:
        own = found[name]
        cells = [name]
        for kind in ("success", "half the time"):
            low, high = own[f"{kind} 95"]
            cells.append(f"{100 * own[kind]:.0f} ({100 * low:.0f} to {100 * high:.0f})")
        cells += [f"{100 * own['tasks'][task]:.0f}" if task in own["tasks"] else "–" for task in tasks]
        way = [known[name]["the way"] for known in facts.values() if "the way" in known.get(name, {})]
        cells += [f"{100 * np.mean(way):.0f}" if way else "–", str(own["trials"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(path: Any, trials: Trials) -> None:
    """A bar for each arm, and a dot for each task."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = figures(trials)
    names = [name for name in CORE if name in found][::-1]
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 0.42 * len(names) + 1.2), sharey=True, layout="constrained")
    for panel, kind, within in zip(panels, ("success", "half the time"), (ROWS, HALF), strict=True):
        for place, name in enumerate(names):
            own = found[name]
            low, high = own[f"{kind} 95"]
            colour = "#0072b2" if name == OURS else "#56b4e9" if name == CHOOSING else "#bbbbbb"
            panel.barh(place, 100 * own[kind], color=colour, height=0.7)
            panel.plot([100 * low, 100 * high], [place, place], color="#333333", linewidth=1.2)
            for task in own["tasks"]:
                some = {key: trial for key, trial in trials.items() if key[0] == task and name in trial}
                panel.plot(100 * rates(some, name, within).mean(), place, ".", color="#333333", markersize=5)
        panel.set(xlim=(0, 101), xlabel="% of held-out starts")
        panel.set_title("success" if kind == "success" else "success within half the time", fontsize=10)
        panel.set_yticks(range(len(names)), names)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
