"""Claims: one reward model learns two tasks whose rewards are opposite, two robots, and two cameras.

- tasks: the same 200 motions in Meta-World's drawer, judged once as opening and once as closing it: more than 0.9
  accuracy on held-out episodes of each, and less than 0.55 with the task withheld, where both have one and the same
  reward. Beside it a model of each task alone, from the same labels: what those labels are good for; and
  effort alone, the best that a reward without the task can know. It is known which motions leave the drawer open or
  closed, and since when, except of held-out episodes.
- robots: Meta-World's Sawyer (4 actions, 11 state values) opening a drawer and Gymnasium's Pusher (7 actions, 23 state
  values, a seven-jointed arm that pushes a cylinder), trained together: each not behind a model of its own, of the same
  labels, by more than the standard error of the difference over seeds.
- cameras: a front and a wrist camera. With the front one hidden in a third of the episodes accuracy stays within 0.02
  of that with all views. A model of frames alone is shown beside it, since actions and state make up for much.

Labels are noisy (β = 3 per standard deviation of the truth, 10 % mistakes), 250 for each task unless `--labels` says
otherwise; everything else is the product's default. Accuracy is of all noise-free pairs within a task of episodes that
no label is about.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

OPEN, CLOSE = "drawer-open-v3", "drawer-close-v3"
EPISODES, LABELS, SEEDS = 100, 250, 3
QUICK = {"episodes": 24, "seeds": 2}
BETA, MISTAKE, HELD_OUT = 3.0, 0.1, 1 / 3
STRIDE = 4
"""Rows from step to step: 5 steps a second."""
SCENE = 11
"""State values without the goal's position, which would tell the task."""
SHUT = 0.2
"""Of the drawer's way: so near to an end, it is open or closed."""
EFFORT = 0.3
"""Standard deviations of effort that count in either task: what they share."""
PUSHER_STEPS, SOURCES = 120, ("expert", "novice", "random")
PICTURES, SIDE, WRIST = 12, 96, "gripperPOV"


@dataclass(frozen=True)
class Pool:
    """Episodes of one robot in one scene."""

    actions: list[np.ndarray]
    state: list[np.ndarray]
    returns: np.ndarray
    """(N,) the simulator's."""
    frames: list[np.ndarray]
    """(T, V·D) features of the views; D = 0 without."""


def sawyer(task: str, count: int, views: bool, seed: int = 0) -> Pool:
    """Episodes by Meta-World's scripted policies in sure and unsure hands, and at random."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    if views:
        import timm  # noqa: F401  (torch's libraries end the process where a renderer was there before them)
    from sample_pool import sources
    from sample_pool.rollout import Camera, make_environment, roll_out

    makers = {"expert": sources.expert, "novice": sources.novice, "random": sources.random_policy}
    rng = np.random.default_rng([seed, *task.encode()])
    environment, variations = make_environment(task, seed)
    camera = _TwoViews(Camera(environment, SIDE), environment) if views else None
    found = []
    for number in range(count):
        variation = variations[int(rng.integers(len(variations)))]
        policy = makers[SOURCES[number % len(SOURCES)]](task, rng)
        found.append(roll_out(environment, variation, policy, task=task, source="", seed=number, make_frame=camera))
    frames = _encoded([one.frames for one in found]) if views else [np.zeros((38, 0)) for _ in found]
    kept = [one.states[::STRIDE, :SCENE] for one in found]
    return Pool([one.actions[::STRIDE] for one in found], kept, np.array([one.rewards.sum() for one in found]), frames)


class _TwoViews:
    """Pictures of both cameras side by side, at `PICTURES` of an episode's rows; black at the others."""

    def __init__(self, front: Any, environment: Any) -> None:
        import mujoco as imported

        mujoco: Any = imported
        self.front, self.row = front, 0
        self.wrist = mujoco.Renderer(environment.model, SIDE, SIDE)

    def __call__(self, data: Any) -> np.ndarray:
        from sample_pool.rollout import ROWS

        wanted = np.linspace(0, ROWS - 1, PICTURES).round().astype(int)
        self.row, row = (self.row + 1) % ROWS, self.row
        if row not in wanted:
            return np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
        self.wrist.update_scene(data, camera=WRIST)
        return np.hstack([self.front(data), self.wrist.render()])


def _encoded(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """(T, 2·D) of each episode: the steps between two pictures show the nearer one."""
    from ml_backend.reward.encoder import load
    from ml_backend.reward.encoder_weights import NETWORK, resolve_weights

    encoder = load(resolve_weights(NETWORK, "imagenet"))
    found = []
    for episode in pictures:
        wanted = np.linspace(0, len(episode) - 1, PICTURES).round().astype(int)
        both = [encoder.encode(episode[wanted][:, :, half]) for half in (slice(0, SIDE), slice(SIDE, 2 * SIDE))]
        rows = np.arange(0, len(episode), STRIDE)
        found.append(np.hstack(both)[np.abs(rows[:, None] - wanted).argmin(axis=1)])
    return found


def pusher(count: int, seed: int = 0) -> Pool:
    """Episodes of Gymnasium's Pusher-v5, driven along the Jacobian; each has a strength and an unrest of its own."""
    import gymnasium
    import mujoco as imported

    mujoco: Any = imported
    environment: Any = gymnasium.make("Pusher-v5").unwrapped
    rng = np.random.default_rng([seed, 7])
    found: list[tuple[np.ndarray, np.ndarray, float]] = []
    for number in range(count):
        observation, _ = environment.reset(seed=number)
        data, model = environment.data, environment.model
        strength, unrest = rng.uniform(0.0, 4.0), rng.uniform(0.0, 1.5)
        kick = np.zeros(7)
        states, actions, total = [], [], 0.0
        for _ in range(PUSHER_STEPS):
            tip, thing, goal = (data.body(name).xpos for name in ("tips_arm", "object", "goal"))
            behind = thing + 0.08 * (thing - goal) / max(float(np.linalg.norm(thing - goal)), 1e-6)
            jacobian = np.zeros((3, model.nv))
            mujoco.mj_jacBody(model, data, jacobian, None, model.body("tips_arm").id)
            kick = 0.9 * kick + unrest * 0.4 * rng.standard_normal(7)
            action = strength * 3 * jacobian[:, :7].T @ (behind - tip) - 0.1 * strength * data.qvel[:7] + kick
            action = np.clip(action, -2.0, 2.0)
            states.append(observation)
            actions.append(action)
            observation, reward, *_ = environment.step(action)
            total += float(reward)
        found.append((np.array(actions, np.float32)[::STRIDE], np.array(states, np.float32)[::STRIDE], total))
    none = [np.zeros((len(actions), 0)) for actions, _, _ in found]
    return Pool([a for a, _, _ in found], [s for _, s, _ in found], np.array([r for *_, r in found]), none)


def kept(folder: Path, name: str, make: Callable[[], Pool]) -> Pool:
    """Made once."""
    file = folder / f"{name}.npz"
    if not file.exists():
        pool = make()
        lengths = [len(one) for one in pool.actions]
        arrays: Any = {part: np.concatenate(getattr(pool, part)) for part in ("actions", "state", "frames")}
        np.savez(file, lengths=lengths, returns=pool.returns, **arrays)
    saved = np.load(file)
    ends = np.cumsum(saved["lengths"])[:-1]
    parts = {part: np.split(saved[part], ends) for part in ("actions", "state", "frames")}
    return Pool(returns=saved["returns"], **parts)


@dataclass(frozen=True)
class Member:
    """What one task says of some episodes."""

    pool: Pool
    truth: np.ndarray
    """(N,), higher is better."""
    robot: str = "sawyer"
    known: Sequence[Any] = ()
    """What a dataset says of their success; empty = nothing."""


def noisy_labels(
    truth: np.ndarray, rows: np.ndarray, labels: int, rng: np.random.Generator
) -> list[tuple[int, int, float]]:
    """So many different pairs of `rows`, by the noisy teacher with mistakes."""
    every = np.array([(i, j) for n, i in enumerate(rows) for j in rows[n + 1 :]])
    drawn = every[rng.permutation(len(every))[:labels]]
    drawn = np.where(rng.random((len(drawn), 1)) < 0.5, drawn, drawn[:, ::-1])
    right = rng.random(len(drawn)) < 1 / (1 + np.exp(-BETA * (truth[drawn[:, 0]] - truth[drawn[:, 1]]) / truth.std()))
    label = np.where(rng.random(len(drawn)) < MISTAKE, ~right, right).astype(float)
    return [(int(a), int(b), float(y)) for (a, b), y in zip(drawn, label, strict=True)]


def accuracy(rewards: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> float:
    """Over all noise-free pairs of `rows`."""
    i, j = np.triu_indices(len(rows), 1)
    return float(((rewards[rows[i]] > rewards[rows[j]]) == (truth[rows[i]] > truth[rows[j]])).mean())


def fitted(
    members: dict[str, Member],
    seed: int,
    *,
    inputs: Sequence[str] = ("actions", "state"),
    hidden: float = 0.0,
    views: int = 0,
    labels: int = LABELS,
) -> tuple[dict[str, float], dict[str, float]]:
    """Accuracy of one model on each task's held-out episodes, and of the same model where it is not told the task.

    Args:
        hidden: Share of the episodes whose first view the model never sees.
        labels: Of each task.
    """
    from ml_backend.reward.dataset import Known, Pairs, split_pairs
    from ml_backend.reward.features import Features
    from ml_backend.reward.layout import UNSEEN, Placed, Robot, robots_among
    from ml_backend.reward.model import ModelSpec
    from ml_backend.reward.train import train_model
    from preference.config import Reward

    tasks = tuple(sorted(members))
    kinds = {
        name: Robot(one.robot, one.pool.actions[0].shape[1], one.pool.state[0].shape[1])
        for name, one in members.items()
    }
    robots = robots_among(kinds.values())
    reward = Reward.model_validate({"inputs": list(inputs)})
    frames = max(one.pool.frames[0].shape[1] for one in members.values()) if "frames" in inputs else 0
    spec = ModelSpec(
        encoder="", weights="", image_size=0, sample_fps=5.0, max_frames=64, inputs=tuple(inputs), frame_size=frames,
        action_names=tuple(f"a{i}" for i in range(sum(r.actions for r in robots))),
        state_names=tuple(f"s{i}" for i in range(sum(r.state for r in robots))), temporal=reward.temporal,
        hidden=reward.hidden, members=reward.members, projection=16 * views, task_types=tasks,
        cameras=tuple(f"camera {i}" for i in range(views)), task_columns=len(tasks) > 1,
        robots=tuple((r.name, r.actions, r.state) for r in robots),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    recorded, places, drawn, tests, start = [], [], [], {}, 0
    order: dict[int, np.ndarray] = {}
    for task in tasks:
        pool, count = members[task].pool, len(members[task].truth)
        rows = order.setdefault(id(pool), rng.permutation(count))  # one motion is held out in all tasks, or in none
        gone = set(np.random.default_rng([seed, 3]).permutation(count)[: round(hidden * count)].tolist())
        for i in range(count):
            seen = pool.frames[i][:, :frames].astype(np.float16)
            seen[:, : frames // max(views, 1)] = np.nan if i in gone else seen[:, : frames // max(views, 1)]
            recorded.append(Features(seen, pool.actions[i].astype(np.float32), pool.state[i].astype(np.float32)))
        places += [(spec.layout.robot(kinds[task]), spec.layout.task(task))] * count
        cut = round(HELD_OUT * count)
        tests[task] = start + rows[:cut]
        drawn += [(a + start, b + start, y) for a, b, y in noisy_labels(members[task].truth, rows[cut:], labels, rng)]
        start += count
    truth = np.concatenate([members[task].truth for task in tasks])
    kinds_of, tasks_of = [robot for robot, _ in places], [task for _, task in places]
    a, b, y = (np.array(column) for column in zip(*drawn, strict=True))
    pairs = Pairs(tuple(f"p{i}" for i in range(len(a))), a, b, y.astype(float), np.ones(len(a)))
    split = split_pairs([f"{i} {j}" for i, j in zip(a, b, strict=True)], seed)
    split = replace(split, train=np.concatenate([split.train, split.test]))  # held-out episodes are the test
    held = np.concatenate(list(tests.values()))
    told = [Known(None, None, task) for task in tasks for _ in members[task].truth]
    for place, one in enumerate(one for task in tasks for one in members[task].known):
        told[place] = told[place] if place in held else one
    placed = Placed(recorded, spec.layout, kinds_of, tasks_of)
    known = told if all(one.known for one in members.values()) else ()
    model = train_model(placed, pairs, split, spec, reward, seed=seed, known=known).model
    found = []
    for shown in (tasks_of, [UNSEEN] * len(tasks_of)):
        rewards = model.score(Placed(recorded, spec.layout, kinds_of, shown))[0]
        found.append({task: accuracy(rewards, truth, tests[task]) for task in tasks})
    return found[0], found[1]


def opposite(pool: Pool) -> dict[str, Member]:
    """Opening and closing, of the same motions; effort counts against both."""
    opened = -np.array([state[:, 5].mean() for state in pool.state])
    effort = np.array([np.abs(actions).mean() for actions in pool.actions])
    opened, effort = ((values - values.mean()) / values.std() for values in (opened, effort))
    far, near = (float(np.quantile([edge(state[:, 5]) for state in pool.state], share))
                 for edge, share in ((np.min, 0.05), (np.max, 0.95)))  # fmt: skip
    known = {
        task: [_success(np.abs(state[:, 5] - end) < SHUT * (near - far), task) for state in pool.state]
        for task, end in (("open", far), ("close", near))
    }
    return {
        "open": Member(pool, opened - EFFORT * effort, known=known["open"]),
        "close": Member(pool, -opened - EFFORT * effort, known=known["close"]),
    }


def _success(there: np.ndarray, task: str) -> Any:
    """Whether the drawer stands at its end when the episode ends, and since when."""
    from ml_backend.reward.dataset import Known

    away = np.flatnonzero(~there)
    first = int(away[-1]) + 1 if len(away) else 0
    return Known(first < len(there), first if first < len(there) else None, task)


def both(first: Pool, second: Pool) -> Pool:
    joined = {name: getattr(first, name) + getattr(second, name) for name in ("actions", "state", "frames")}
    return Pool(returns=np.concatenate([first.returns, second.returns]), **joined)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="Keeps episodes and features for the next run; default: thrown away."
    )
    parser.add_argument("--quick", action="store_true", help="Few episodes, two seeds.")
    parser.add_argument("--only", choices=("tasks", "robots", "cameras"), help="One of the three; default: all.")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--labels", type=int, default=LABELS, help="Of each task, in the first of the three.")
    asked = parser.parse_args()
    labels = asked.labels
    count = QUICK["episodes"] if asked.quick else EPISODES
    seeds = range(asked.seeds or (QUICK["seeds"] if asked.quick else SEEDS))
    figures: dict[str, list[float]] = {}
    met: dict[str, bool] = {}

    def add(name: str, values: Sequence[float]) -> np.ndarray:
        figures[name] = [round(float(value), 4) for value in values]
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        print(f"{name:<62}{np.mean(values):>8.3f} ± {error:.3f}   {' '.join(f'{v:.3f}' for v in values)}", flush=True)
        return np.array(values)

    with tempfile.TemporaryDirectory() as name:
        folder = asked.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)

        def drawer(task: str) -> Pool:
            return kept(folder, f"{task}-{count}", lambda: sawyer(task, count, views=False))

        if asked.only in (None, "tasks"):
            tasks = opposite(both(drawer(OPEN), drawer(CLOSE)))
            found = [fitted(tasks, seed, labels=labels) for seed in seeds]
            for task, member in tasks.items():
                add(
                    f"same motions: {task}, a model of its own",
                    [fitted({task: member}, seed, labels=labels)[0][task] for seed in seeds],
                )
            every = np.arange(len(tasks["open"].truth))
            effort = -np.array([np.abs(actions).mean() for actions in tasks["open"].pool.actions])
            add("same motions: both, effort alone", [accuracy(effort, one.truth, every) for one in tasks.values()])
            ok = [
                add(f"same motions: {task}", [told[task] for told, _ in found]).mean() > 0.9
                for task in ("open", "close")
            ]
            floor = add(
                "same motions: both, task withheld", [float(np.mean(list(blind.values()))) for _, blind in found]
            )
            met["tasks"] = all(ok) and bool(floor.mean() < 0.55)
        if asked.only in (None, "robots"):
            arm = kept(folder, f"pusher-{count}", lambda: pusher(count))
            two = {OPEN: Member(drawer(OPEN), drawer(OPEN).returns), "push": Member(arm, arm.returns, "pusher")}
            joint = [fitted(two, seed)[0] for seed in seeds]
            good = []
            for task, member in two.items():
                alone = add(f"{member.robot} alone", [fitted({task: member}, seed)[0][task] for seed in seeds])
                ahead = add(f"{member.robot} in one model of both", [one[task] for one in joint]) - alone
                good.append(ahead.mean() >= -ahead.std(ddof=1) / np.sqrt(len(ahead)))
            met["robots"] = all(good)
        if asked.only in (None, "cameras"):
            seen = kept(folder, f"views-{count}", lambda: sawyer(OPEN, count, views=True))
            member = {OPEN: Member(seen, seen.returns)}
            close = []
            for inputs in (("frames", "actions", "state"), ("frames",)):
                full, part = (
                    add(
                        f"{', '.join(inputs)}: {words}",
                        [fitted(member, seed, inputs=inputs, hidden=share, views=2)[0][OPEN] for seed in seeds],
                    )
                    for words, share in (("all views", 0.0), ("front hidden in a third", 1 / 3))
                )
                close.append(part.mean() >= full.mean() - 0.02)
            met["cameras"] = bool(close[0])
    target = "tasks > 0.9 each and < 0.55 withheld; robots not behind alone; cameras within 0.02"
    print(json.dumps({"name": "tasks_robots", "quick": asked.quick, "figures": figures, "target": target, "met": met}))
    sys.exit(0 if all(met.values()) else 1)


if __name__ == "__main__":
    main()
