"""Claim: the default strategy needs 1.3 times fewer labels than uniform drawing for what that reaches with 290, pooled
over three Meta-World tasks, three teachers and six seeds, and is behind uniform in none of the nine cells.

Courses as a project runs by default, from the first answer on: stratified pairs until the first round, then rounds of
50 pairs with their tenth of audit pairs, by the product's own training and ranking on states and actions of scripted
episodes. The pool knows which episodes succeeded, and the model learns from that through progress and the pool's
quality; strata are of that quality, which `robopref pool` computes, never of the return; accuracy is over pairs of
held-out episodes, against the true return. Beside the defaults, rounds start at 40 labels and at the protocol's 160,
and uniform pairs and the default strategy do without what is known of success. Labels needed are read off the mean
curve, made to rise; intervals are over seeds. `Behind` means that the mean accuracy over all rounds is lower than
uniform's with 95 % certainty (paired by seed, Student's t): six seeds cannot tell smaller differences, and among nine
cells one may be lower by chance. The labels that the default needs are also counted for what uniform drawing reaches
with 200, and, where a checkout of release 0.1.0 is named, for what that release's model reaches with 200 uniform pairs;
no course is read before 40 labels, so no saving is above 5 there. The rules' settings were chosen on drawer-open-v3,
which is none of the three tasks, with other seeds; that `v_optimal` is the default, in a trial with an earlier network
on these three.

Each course's result is kept in the folder: a run that was killed goes on. It also gets table.md and curves.png.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from efficiency.course import EARLY, LABELS, LATE, START, TEACHERS, UNIFORM, Course, run
from efficiency.episodes import episodes
from efficiency.first_release import MODEL, first_release
from efficiency.summary import compared, figures, pooled, reached

from ml_backend.ranking import STRATEGIES
from preference.config import Active

TASKS = ("door-open-v3", "hammer-v3", "window-open-v3")
EPISODES, POOL_SEED, SEEDS, PROCESSES = 240, 0, 6, 2
QUICK: dict[str, Any] = {"tasks": TASKS[:1], "seeds": 2, "strategies": ("uniform", Active().strategy)}
LEAST = 1.3


def courses(
    tasks: tuple[str, ...], seeds: int, strategies: tuple[str, ...], until: int, *, unaided: bool = True
) -> list[Course]:
    """By seed first, so that a run that was stopped has whole seeds; `unaided` adds what does without the prior."""
    arms = [(strategy, START, True) for strategy in strategies]
    arms += [(Active().strategy, first, True) for first in (EARLY, LATE) if first != START]
    if unaided:
        arms += [(strategy, START, False) for strategy in dict.fromkeys(("uniform", Active().strategy))]
    return [
        Course(task, teacher, strategy, seed, first, until, prior)
        for seed in range(seeds)
        for task in tasks
        for teacher in TEACHERS
        for strategy, first, prior in arms
    ]


def work(course: Course, folder: Path, count: int) -> None:
    run(course, folder, episodes(folder, course.task, count, POOL_SEED))


def measure(folder: Path, wanted: list[Course], processes: int) -> dict[Course, np.ndarray]:
    """Every course's accuracies; those that are there are read."""
    os.environ["OMP_NUM_THREADS"] = "1"
    tasks = list(dict.fromkeys(course.task for course in wanted))
    with ProcessPoolExecutor(processes) as workers:
        list(workers.map(episodes, [folder] * len(tasks), tasks, [EPISODES] * len(tasks), [POOL_SEED] * len(tasks)))
        jobs = [workers.submit(work, course, folder, EPISODES) for course in wanted]
        for number, job in enumerate(jobs, 1):
            job.result()
            print(f"{number} of {len(jobs)} courses", file=sys.stderr, flush=True)
    return {one: np.array(json.loads(one.path(folder).read_text())["accuracy"]) for one in wanted}


def at_uniform(
    curves: dict[Course, np.ndarray], folder: Path, release: Path | None, processes: int
) -> dict[str, dict[str, Any]]:
    """The default against `UNIFORM` labels of pairs at random: of this model, and of the first release's."""
    strategy, found = Active().strategy, {}
    if all(len(curve) > sum(n < UNIFORM for n in LABELS) for curve in curves.values()):
        found["this model"] = compared(
            curves, strategy, lambda seeds: reached(pooled(curves, "uniform", seeds), UNIFORM), UNIFORM
        )
    if release:
        made = {task: episodes(folder, task, EPISODES, POOL_SEED) for task in {course.task for course in curves}}
        early = first_release(folder, release, curves, made, processes)

        def level(seeds: list[int]) -> float:
            return float(np.mean([value for seed in seeds for cell, value in early.items() if cell.seed == seed]))

        found["release 0.1.0"] = compared(curves, strategy, level, UNIFORM)
    return found


def table(found: dict[str, Any]) -> str:
    """As Markdown."""
    shown = LABELS[: len(next(iter(found.values()))["accuracy"])]
    lines = [
        "| strategy | " + " | ".join(map(str, shown)) + " | labels for uniform's last | saving (95 %) | "
        + " | ".join(TEACHERS) + " | behind |",
        "| --- " * (len(shown) + 4 + len(TEACHERS)) + "|",
    ]  # fmt: skip
    for strategy, own in found.items():
        accuracy = [f".{round(1000 * own['accuracy'][LABELS.index(n)]):03d}" for n in shown]
        low, high = own["saving_95"]
        needed = "–" if own["labels_needed"] is None else f"{own['labels_needed']:.0f}"
        by_teacher = [_times(own["saving_by_teacher"][name]) for name in TEACHERS]
        saving = f"{_times(own['saving'])} ({_times(low)} to {_times(high)})"
        cells = [strategy, *accuracy, needed, saving, *by_teacher, ", ".join(own["behind"]) or "nowhere"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _times(saving: float) -> str:
    """A saving; – where uniform's last accuracy is not reached."""
    return f"{saving:.1f}" if saving else "–"


def draw(path: Path, curves: dict[Course, np.ndarray], found: dict[str, Any]) -> None:
    """Accuracy against labels, one panel per teacher; bands are a standard error over courses."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(TEACHERS), figsize=(11, 3.8), sharey=True, layout="constrained")
    colours = {name: f"C{i}" for i, name in enumerate(found)}
    for panel, teacher in zip(panels, TEACHERS, strict=True):
        for strategy, colour in colours.items():
            rows = np.array([c for k, c in curves.items() if (k.teacher, k.arm) == (teacher, strategy)])
            mean, error = rows.mean(axis=0), rows.std(axis=0) / np.sqrt(len(rows))
            width = 2.4 if strategy in ("uniform", Active().strategy) else 1.2
            panel.plot(LABELS[: len(mean)], mean, color=colour, label=strategy.replace("_", "-"), linewidth=width)
            panel.fill_between(LABELS[: len(mean)], mean - error, mean + error, color=colour, alpha=0.12, linewidth=0)
        panel.set(title=f"{teacher} teacher", xlabel="labels")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy on held-out episodes")
    panels[-1].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = Path(tempfile.gettempdir()) / "robopref-label-efficiency"
    parser.add_argument("--folder", type=Path, default=kept, help=f"Episodes and results; default: {kept}.")
    parser.add_argument("--quick", action="store_true", help="One task, two seeds, uniform and the default.")
    parser.add_argument("--tasks", nargs="+", help=f"Default: {' '.join(TASKS)}; with --quick {QUICK['tasks'][0]}.")
    only = "Only these, without the arms that know nothing of success; uniform has to be one. Default: all."
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, help=only)
    parser.add_argument("--seeds", type=int, help=f"Default: {SEEDS}; with --quick {QUICK['seeds']}.")
    parser.add_argument("--until", type=int, choices=LABELS[1:], default=LABELS[-1], help="The last number of labels.")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--first-release", type=Path, help="A checkout of release 0.1.0 (f9d166d) to compare with.")
    asked = parser.parse_args()
    release = asked.first_release and asked.first_release.resolve()
    if release and not (release / MODEL).is_file():
        parser.error(f"--first-release: no checkout of release 0.1.0: {release / MODEL} is missing")
    folder = (asked.folder / "quick" if asked.quick else asked.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = QUICK if asked.quick else {"tasks": TASKS, "seeds": SEEDS, "strategies": STRATEGIES}
    tasks, seeds = tuple(asked.tasks or chosen["tasks"]), asked.seeds or chosen["seeds"]
    if asked.strategies and "uniform" not in asked.strategies:
        parser.error("--strategies: uniform is what the others are compared with")
    named = tuple(asked.strategies or chosen["strategies"])
    wanted = courses(tasks, seeds, named, asked.until, unaided=not asked.strategies)
    curves = measure(folder, wanted, asked.processes)
    found = figures(curves, list(dict.fromkeys(course.arm for course in wanted)))
    (folder / "table.md").write_text(table(found) + "\n", encoding="utf-8")
    draw(folder / "curves.png", curves, found)
    print(table(found))
    print(f"{folder / 'table.md'}, {folder / 'curves.png'}")
    beside = at_uniform(curves, folder, release, asked.processes)
    for name, own in beside.items():
        needed, (low, high) = own["labels_needed"], own["saving_95"]
        print(
            f"For the {own['accuracy']:.3f} that {UNIFORM} pairs at random reach with {name} the default needs "
            f"{'more than the last' if needed is None else f'{needed:.0f}'} labels, {own['saving']:.1f} times fewer "
            f"({low:.1f} to {high:.1f})."
        )
    default = found[Active().strategy]
    met = default["saving"] >= LEAST and not default["behind"]
    target = f"the default ({Active().strategy}) saves at least {LEAST}x pooled and is behind uniform in no cell"
    print(
        json.dumps(
            {"name": "label_efficiency", "figures": found, "at_uniform": beside, "target": target, "met": bool(met)}
        )
    )
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
