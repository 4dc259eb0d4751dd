"""What the trials say: for each arm success, and success within half the time; differences between arms, paired.

Trials (task, seed) in, figures out. Two arms are compared within each trial, on the same pool and the same starts;
intervals (95 %) are over seeds, each the mean of its tasks, so they speak of other pools of these tasks, not of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sample_pool.rollout import ROWS

from policies.trial import CHOOSING, CORE, EVERYTHING, OURS, PEER_ARMS, RANDOM, SUCCESSES, TRUTH

HALF = ROWS // 2
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


def interval(trials: Trials, values: np.ndarray) -> tuple[float, float, float]:
    """Mean of (trials, starts), success or a difference of two arms, and its 95 % by Student's t over the seeds' means.

    With one seed there is no interval: both ends are nan.
    """
    from scipy.stats import t

    seeds = np.array([seed for _, seed in trials])
    means = np.array([values[seeds == seed].mean() for seed in np.unique(seeds)])
    n, mean = len(means), float(means.mean())
    if n == 1:
        return mean, np.nan, np.nan
    half = float(t.ppf(0.975, n - 1) * means.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def _rounded(values: Iterable[float], low: float, high: float) -> list[float | None]:
    """As JSON has them, which knows no nan; an interval ends where the figure can."""
    return [None if np.isnan(value) else round(float(np.clip(value, low, high)), 4) for value in values]


def figures(trials: Trials) -> dict[str, Any]:
    """Of every arm that all trials have, and of those that only some have, with the trials they are of."""
    tasks = sorted({task for task, _ in trials})
    found: dict[str, Any] = {}
    for arm in dict.fromkeys(name for trial in trials.values() for name in trial):
        having = {key: trial for key, trial in trials.items() if arm in trial}
        own: dict[str, Any] = {"trials": len(having)}
        for name, within in (("success", ROWS), ("half the time", HALF)):
            mean, *ends = interval(having, rates(having, arm, within))
            own[name] = round(mean, 4)
            own[f"{name} 95"] = _rounded(ends, 0.0, 1.0)
        own["tasks"] = {
            task: round(float(rates(some, arm).mean()), 4)
            for task in tasks
            if (some := {key: trial for key, trial in having.items() if key[0] == task})
        }
        found[arm] = own
    return found


def leads(trials: Trials) -> dict[str, list[Any]]:
    """How far ours is ahead: mean, and the ends of its interval, None with one seed."""
    pairs = {
        EVERYTHING: ROWS,
        RANDOM: ROWS,
        **dict.fromkeys(PEER_ARMS, ROWS),
        TRUTH: ROWS,
        SUCCESSES: HALF,
        CHOOSING: ROWS,
    }
    found = {}
    for arm, within in pairs.items():
        ahead = rates(trials, OURS, within) - rates(trials, arm, within)
        found[f"{arm}{', half the time' if within == HALF else ''}"] = _rounded(interval(trials, ahead), -1.0, 1.0)
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
            cells.append(f"{100 * own[kind]:.0f}{spread(own[f'{kind} 95'])}")
        cells += [f"{100 * own['tasks'][task]:.0f}" if task in own["tasks"] else "–" for task in tasks]
        way = [known[name]["the way"] for known in facts.values() if "the way" in known.get(name, {})]
        cells += [f"{100 * np.mean(way):.0f}" if way else "–", str(own["trials"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(ends: Sequence[float | None], sign: str = "") -> str:
    """The interval in percent, in parentheses; nothing where there is none."""
    low, high = ends
    return "" if low is None or high is None else f" ({100 * low:{sign}.0f} to {100 * high:{sign}.0f})"


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
            colour = "#0072b2" if name == OURS else "#56b4e9" if name == CHOOSING else "#bbbbbb"
            panel.barh(place, 100 * own[kind], color=colour, height=0.7)
            if None not in own[f"{kind} 95"]:
                ends = 100 * np.array(own[f"{kind} 95"])
                panel.plot(ends, [place, place], color="#333333", linewidth=1.2)
            panel.text(103, place, f"{100 * own[kind]:.0f} %", va="center", fontsize=9)
            for task in own["tasks"]:
                some = {key: trial for key, trial in trials.items() if key[0] == task and name in trial}
                panel.plot(100 * rates(some, name, within).mean(), place, ".", color="#333333", markersize=5)
        panel.set(xlim=(0, 112), xticks=range(0, 101, 20), xlabel="% of held-out starts")
        panel.set_title("done in time" if kind == "success" else "done in half the time", fontsize=10)
        panel.set_yticks(range(len(names)), names)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("cloned from")
    tasks, seeds = (len({key[place] for key in trials}) for place in (0, 1))
    figure.suptitle(f"Policies cloned from parts of mixed pools; tasks: {tasks} (dots), seeds: {seeds}", fontsize=11)
    figure.savefig(path, dpi=110)
