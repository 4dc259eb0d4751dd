"""One layout for a pool of several tasks, robots and cameras: trajectories as recorded in, as the model sees them out.

Each robot has columns of its own among the actions and the state (an input stem per embodiment, as in HPT, Wang et al.
2024), so normalizing columns normalizes each robot. Frames are shared; the n-th camera of every dataset is one view.
What a trajectory does not have is nan, and the model takes it for the mean. After the state comes a column for each
task type, 1 in a trajectory's own. A task that the model does not know has none, and gets the reward that tasks share:
some tasks lose their column in each training step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ml_backend.reward.features import Features

UNSEEN = -1
"""A task, or a robot, that the model does not know."""


@dataclass(frozen=True)
class Robot:
    """A kind of robot: the same type, with as many values per step."""

    name: str
    """Its type; empty where no dataset says it."""
    actions: int
    state: int

    def __str__(self) -> str:
        return self.name or f"unnamed ({self.actions} actions, {self.state} state values)"

    def takes(self, other: Robot) -> bool:
        """Whether `other` is of this kind. Nobody's name differs from none, and a missing modality from no size."""
        named = self.name == other.name or not (self.name and other.name)
        return named and all(
            found in (0, size) for size, found in ((self.actions, other.actions), (self.state, other.state))
        )


@dataclass(frozen=True)
class Layout:
    """Where everything goes."""

    frames: int
    """V·D: values of all views' frames per step; 0 where the model does not look at frames."""
    robots: tuple[Robot, ...]
    tasks: tuple[str, ...] = ()
    """Those that have a column; none where the model knows one task only."""

    @property
    def sizes(self) -> dict[str, int]:
        """Values per step."""
        state = sum(robot.state for robot in self.robots) + len(self.tasks)
        return {"frames": self.frames, "actions": sum(robot.actions for robot in self.robots), "state": state}

    def robot(self, found: Robot) -> int:
        """Its place among the robots, or `UNSEEN`."""
        return next((i for i, known in enumerate(self.robots) if known.takes(found)), UNSEEN)

    def task(self, task_type: str) -> int:
        """Its place among the tasks, or `UNSEEN`."""
        return known_task(task_type, self.tasks)

    def place(self, item: Features, robot: int, task: int) -> Features:
        """A trajectory as the model sees it; what it does not have is nan.

        Args:
            item: As recorded; a view that its dataset names and it lacks is nan already.
        """
        steps, sizes = len(item), self.sizes
        if item.frames.shape[1] == sizes["frames"] and len(self.robots) == 1 and not self.tasks and robot == 0:
            own = self.robots[0]
            if (item.actions.shape[1], item.state.shape[1]) == (own.actions, own.state):
                return item
        frames = np.full((steps, sizes["frames"]), np.nan, np.float16)
        frames[:, : item.frames.shape[1]] = item.frames[:, : sizes["frames"]]
        actions = np.full((steps, sizes["actions"]), np.nan, np.float32)
        state = np.full((steps, sizes["state"]), np.nan, np.float32)
        if robot != UNSEEN:
            before = self.robots[:robot]
            for out, recorded, at in (
                (actions, item.actions, sum(one.actions for one in before)),
                (state, item.state, sum(one.state for one in before)),
            ):
                out[:, at : at + recorded.shape[1]] = recorded
        if self.tasks:
            state[:, -len(self.tasks) :] = 0.0
            if task != UNSEEN:
                state[:, task - len(self.tasks)] = 1.0
        return Features(frames, actions, state)


def known_task(said: str, known: Sequence[str]) -> int:
    """Its place among the known tasks, where case and punctuation are no difference if only one has the same words, or
    `UNSEEN`. Words that mean the same are another task: sentence encoders place "close the drawer" as near to "open the
    drawer" as a rewording of it."""
    if said in known:
        return known.index(said)
    words = re.findall(r"\w+", said.casefold())
    alike = [place for place, task in enumerate(known) if words and re.findall(r"\w+", task.casefold()) == words]
    return alike[0] if len(alike) == 1 else UNSEEN


def robots_among(found: Iterable[Robot]) -> tuple[Robot, ...]:
    """The kinds of robots in a pool, those that are named first."""
    kinds: list[Robot] = []
    for robot in sorted(set(found), key=lambda r: (not r.name, r.name, -r.actions, -r.state)):
        if not any(known.takes(robot) for known in kinds):
            kinds.append(robot)
    return tuple(kinds)


@dataclass(frozen=True)
class Placed(Sequence[Features]):
    """A pool's trajectories as the model sees them; each is read when asked for."""

    recorded: Sequence[Features]
    layout: Layout
    robots: Sequence[int]
    tasks: Sequence[int]

    @overload
    def __getitem__(self, index: int) -> Features: ...
    @overload
    def __getitem__(self, index: slice) -> Placed: ...
    def __getitem__(self, index: int | slice) -> Features | Placed:
        if isinstance(index, slice):
            return Placed(self.recorded[index], self.layout, self.robots[index], self.tasks[index])
        return self.layout.place(self.recorded[index], self.robots[index], self.tasks[index])

    def __len__(self) -> int:
        return len(self.recorded)
