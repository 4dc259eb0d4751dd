"""The reward model: frame features, actions and state of a trajectory in, one reward per ensemble member out.

    inputs (B, T, F) → temporal layer (`mean`, `conv1d` or `transformer`) → 2-layer MLP on each step → mean over steps
                     → linear in each step's inputs, their squares and progress (`linear`), added
                     → summary → linear and radial features (`summary`), added                        → reward (K, B)

The network's reward is a mean over steps (Christiano et al. 2017 take the sum), so each step's share of it is its own
reward, and these add up to the trajectory's.

All K members are one computation: the temporal layer's and the MLP's weights have a leading member axis.
Normalization is part of the module, so a caller passes values as recorded; steps beyond a trajectory's end are masked
out everywhere, so that padding cannot change a reward, and length can only through progress (`held`). The convention
is Bradley and Terry's (1952): P(a ≻ b) = σ(r_a − r_b).

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ml_backend.reward import checkpoint
from ml_backend.reward.features import Features, Normalization, collate
from ml_backend.reward.layers import temporal_layer, uniform
from ml_backend.reward.layout import Layout, Robot
from ml_backend.reward.linear import LinearSteps
from ml_backend.reward.outcomes import HIDDEN, PROGRESS, StepOutcomes
from ml_backend.reward.summary import SummaryReward, shares, summarize
from preference.errors import DataError

FORMAT = 4
"""Of the file. Up to format 3 the mean over time came before the MLP, and no step had a reward of its own."""
CLIP = 5.0
"""Normalized inputs are held within ± so many standard deviations: one broken sensor value moves a reward little."""
TASK_SIZE = 2.0
"""Of a task's column where it is set: large beside the other inputs, so that units can serve one task alone."""
SCORE_BATCH = 256
RIDGE = 0.01
"""Of the step model of what belongs to no step, in squared standard deviations of an input."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything but the weights: what the model was trained on, and its sizes."""

    encoder: str
    """timm's name."""
    weights: str
    """What the encoder really used: `imagenet`, `none`, or a file's name."""
    image_size: int
    """Side of the encoder's square input, in pixels."""
    sample_fps: float
    max_frames: int
    inputs: tuple[str, ...]
    """Of `frames`, `actions`, `state`."""
    frame_size: int
    """D, the length of a frame's feature vector."""
    action_names: tuple[str, ...]
    state_names: tuple[str, ...]
    temporal: str
    hidden: int
    members: int
    projection: int
    """Numbers of a frame that are looked at, of all views together (`projection.fit_projection`)."""
    task_types: tuple[str, ...] = ()
    """What it has seen; rewards mean something within one of them only."""
    encoder_digest: str = ""
    """Of the encoder's weights: those of the same name may differ."""
    centres: int = 0
    """Trajectories that radial features are measured from."""
    radial: int = 0
    """Radial features."""
    summary: bool = False
    """Whether there is a part on summaries beside the network."""
    linear: bool = False
    """Whether there is a part that is linear in the steps' inputs beside the network."""
    progress: bool = False
    """Whether the steps' progress counts in the reward."""
    horizon: tuple[int, ...] = ()
    """Steps over which progress is counted, within which nearly all trajectories end; of each of `layout.tasks` where
    there are some. Empty = over a trajectory's own, as in earlier versions and with segments."""
    outcomes: tuple[str, ...] = ()
    """What it says of each step beside the reward: `progress`, `success`."""
    outcome_inputs: tuple[str, ...] = ()
    """Which of `inputs` these are told from; empty = all, as in earlier versions."""
    outcome_hidden: int = 0
    """Width of their network; 0 = `hidden`, as in earlier versions."""
    cameras: tuple[str, ...] = ()
    """The views, the primary one first; `frame_size` is of all of them together."""
    robots: tuple[tuple[str, int, int], ...] = ()
    """Type, actions and state values of each kind of robot, in the order of the names; empty = one, of any type."""
    task_columns: bool = False
    """Whether the state ends with a column for each of `task_types`."""

    @property
    def layout(self) -> Layout:
        """Where a trajectory's values go among the inputs."""
        robots = self.robots or (("", len(self.action_names), len(self.state_names)),)
        tasks = self.task_types if self.task_columns else ()
        return Layout(self.frame_size, tuple(Robot(*robot) for robot in robots), tasks)

    @property
    def sizes(self) -> dict[str, int]:
        """Values per step of frames, actions and state."""
        return self.layout.sizes

    @property
    def width(self) -> int:
        """F, the length of one step's normalized input."""
        return len(self.columns)

    @property
    def columns(self) -> list[str]:
        """What each of them belongs to: `frames`, `actions`, `state` or `task`."""
        sizes = {"frames": self.projection, "actions": len(self.action_names), "state": len(self.state_names)}
        own = [name for name in self.inputs for _ in range(sizes[name])]
        return own + ["task"] * len(self.layout.tasks)

    @property
    def relative(self) -> np.ndarray:
        """(F,) bool: inputs that keep their size relative to each other, as what is seen of a frame does."""
        return np.array([name == "frames" for name in self.columns])

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ModelSpec:
        known = [f.name for f in fields(cls) if f.name in row or f.default is MISSING]
        values: dict[str, Any] = {name: row[name] for name in known}
        listed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        listed["robots"] = tuple((str(name), int(a), int(s)) for name, a, s in row.get("robots", ()))
        return cls(**listed)


@dataclass(frozen=True)
class Dense:
    """What K members say of each of a trajectory's T steps; all (K, T) float64."""

    rewards: np.ndarray
    """Over time they add up to the trajectory's."""
    outcomes: dict[str, np.ndarray]
    """`progress` and `success` in 0 to 1, those that the model learned."""


class RewardModel(nn.Module):
    """An ensemble of K reward models of one architecture.

    Args:
        spec: Sizes and provenance.
        generator: Draws the initial weights; members start differently.
    """

    frame_mean: torch.Tensor
    frame_projection: torch.Tensor
    action_mean: torch.Tensor
    action_scale: torch.Tensor
    state_mean: torch.Tensor
    state_scale: torch.Tensor
    offset: torch.Tensor
    task_scale: torch.Tensor
    """(tasks,) what a task's rewards are multiplied by beside the temperature of all."""

    def __init__(self, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.spec = spec
        members, hidden = spec.members, spec.hidden
        shapes = {
            "frame_mean": (spec.frame_size,),
            "frame_projection": (spec.frame_size, spec.projection),
            "action_mean": (len(spec.action_names),),
            "action_scale": (len(spec.action_names),),
            "state_mean": (len(spec.state_names),),
            "state_scale": (len(spec.state_names),),
            "offset": (members,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("task_scale", torch.ones(len(spec.layout.tasks)))
        self.temporal = temporal_layer(spec.temporal, spec.width, hidden, members, generator)
        size: Any = self.temporal.size
        self.hidden_weight = uniform((members, size, hidden), size, generator)
        self.hidden_bias = nn.Parameter(torch.zeros(members, hidden))
        self.output_weight = uniform((members, hidden), hidden, generator)
        self.log_nu = nn.Parameter(torch.zeros(members))
        """Log of Davidson's ν; trained only where ties are modelled by it."""
        self.summary = None
        if spec.summary:
            self.summary = SummaryReward(spec.width, spec.centres, spec.radial, members)
        self.linear = None
        if spec.linear or spec.progress:
            self.linear = LinearSteps(spec.width if spec.linear else 0, spec.progress, members)
        self.outcomes = self.make_outcomes(spec.outcomes) if spec.outcomes else None

    def forward(
        self, frames: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Rewards (K, B).

        Args:
            frames: (B, T, D) features of the encoder.
            actions: (B, T, A), as recorded.
            state: (B, T, S), as recorded; S may be 0.
            mask: (B, T), true where the trajectory has a step.
        """
        inputs = self.normalize(frames, actions, state)
        rewards = self.rewards(self.embed(inputs, mask))
        if self.linear is not None:
            rewards = rewards + self.linear(inputs, mask, self._counted(self.progress(inputs, mask), inputs))
        if self.summary is not None:
            rewards = rewards + self.summary(inputs, mask)
        return rewards

    def normalize(self, frames: torch.Tensor, actions: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """The inputs that the model uses, each about standard normal over the pool it was trained on: (B, T, F).

        What is nan, because the trajectory does not have it, becomes the mean.
        """
        own = len(self.spec.state_names)
        parts = {
            "frames": lambda: _or_mean(frames - self.frame_mean) @ self.frame_projection,
            "actions": lambda: _or_mean((actions - self.action_mean) * self.action_scale),
            "state": lambda: _or_mean((state[..., :own] - self.state_mean) * self.state_scale),
        }
        seen = torch.cat([parts[name]() for name in self.spec.inputs], dim=-1).clamp(-CLIP, CLIP)
        return torch.cat([seen, TASK_SIZE * state[..., own:]], dim=-1) if self.spec.task_columns else seen

    def embed(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Each member's last-layer features φ, the mean of the steps', (K, B, H); the reward is linear in them.

        Args:
            inputs: (B, T, F) from `normalize`.
            mask: (B, T).
        """
        phi = self.embed_steps(inputs, mask)
        members, batch, steps, size = phi.shape
        weight = (shares(mask, phi.dtype).unsqueeze(0).expand(members, batch, steps)).reshape(-1, 1, steps)
        return torch.bmm(weight, phi.reshape(-1, steps, size)).reshape(members, batch, size)

    def embed_steps(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """φ of each step, (K, B, T, H); what stands beyond a trajectory's end means nothing."""
        found = self.temporal(inputs * mask.to(inputs.dtype).unsqueeze(-1), mask).expand(self.spec.members, -1, -1, -1)
        hidden = torch.baddbmm(self.hidden_bias.unsqueeze(1), found.flatten(1, 2), self.hidden_weight)
        phi = torch.relu_(hidden).unflatten(1, inputs.shape[:2])
        return self._in_task_units(phi, inputs)

    def _in_task_units(self, values: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Values of each step, (..., B, T, H), multiplied by the scale of its task."""
        if not len(self.task_scale):
            return values
        own = inputs[..., -len(self.task_scale) :] / TASK_SIZE
        return values * (1.0 + own @ (self.task_scale - 1.0)).unsqueeze(-1)

    def rewards(self, phi: torch.Tensor) -> torch.Tensor:
        """The network's part, (K, ...), from φ (K, ..., H); centred on the pool, which changes no difference."""
        members, size = self.output_weight.shape
        found = torch.bmm(phi.reshape(members, -1, size), self.output_weight.unsqueeze(2))
        return (found.squeeze(2) - self.offset.unsqueeze(1)).reshape(phi.shape[:-1])

    def progress(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
        """(B, T) of each step as the reward counts it, where it does; the members' mean, for each of them was taught by
        other trajectories."""
        if not self.spec.progress or self.outcomes is None:
            return None
        return self.held(
            self.outcomes(inputs, mask)[..., self.outcomes.names.index(PROGRESS)].mean(dim=0), inputs, mask
        )

    def held(self, progress: torch.Tensor, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T) of (B, T) `progress`: values whose mean over a trajectory's steps is that over the horizon. What ends
        sooner stays as far as it is until then, and what comes later does not count, so nothing is gained by standing
        still at the end. In the mean over a trajectory's own steps it would be.

        Each step is partly itself and partly the last one, so the last one up to the horizon is itself: what a stream
        says of a row. Steps that are not there may also come first, as in a window at an episode's beginning.
        """
        if not self.spec.horizon:
            return progress
        place = mask.cumsum(dim=1)  # from 1
        steps = place[:, -1:]
        horizon = torch.tensor(self.spec.horizon, dtype=steps.dtype, device=steps.device)
        longest = horizon.max()
        if len(self.spec.layout.tasks):  # the longest of all for a task that is not known
            own = (inputs[:, 0, -len(horizon) :] / TASK_SIZE).round().to(steps.dtype)
            longest = longest + (own * (horizon - longest)).sum(dim=1, keepdim=True)
        last = mask & (place == torch.minimum(steps, longest))
        end = (progress * last).sum(dim=1, keepdim=True)
        return end + (place <= longest) * (progress - end) * (steps / longest)

    def _counted(self, progress: torch.Tensor | None, inputs: torch.Tensor) -> torch.Tensor | None:
        """`progress` as the linear part counts it, at the scale of its task. With several tasks nothing else is in that
        part."""
        return None if progress is None else self._in_task_units(progress.unsqueeze(-1), inputs).squeeze(-1)

    def dense(self, inputs: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is said of each step, (K, B, T) each: `rewards`, which add up to the trajectory's and are 0 beyond its
        end, and each outcome."""
        outcomes = {}
        if self.outcomes is not None:
            outcomes = dict(zip(self.outcomes.names, self.outcomes(inputs, mask).unbind(dim=3), strict=True))
        rewards = self.rewards(self.embed_steps(inputs, mask)) * shares(mask, inputs.dtype)
        if self.linear is not None:
            progress = self.held(outcomes[PROGRESS].mean(dim=0), inputs, mask) if self.spec.progress else None
            rewards = rewards + self.linear.steps(inputs, mask, self._counted(progress, inputs))
        if self.summary is not None:
            rewards = rewards + self.summary.steps(inputs, mask)
        return {"rewards": rewards} | outcomes

    @torch.no_grad()
    def set_normalization(self, values: Normalization) -> None:
        """Take over what `dataset.fit_normalization` measured on the training pool."""
        for name, value in asdict(values).items():
            own = getattr(self, name)
            # the state ends with the tasks' columns, which stay as they are
            own.copy_(torch.as_tensor(value, dtype=torch.float32)[: len(own)])

    def make_outcomes(self, names: Sequence[str], generator: torch.Generator | None = None) -> StepOutcomes:
        """An untrained part that gives these outcomes, as the spec describes it."""
        spec = self.spec
        told_from = {*(spec.outcome_inputs or spec.inputs), "task"}
        seen = [column in told_from for column in spec.columns]
        hidden = spec.outcome_hidden or spec.hidden
        return StepOutcomes(names, spec.temporal, spec.width, hidden, spec.members, generator, seen)

    def new_outcomes(self, names: Sequence[str], generator: torch.Generator | None = None) -> StepOutcomes:
        """An untrained part as it is trained now: of its own width, without the actions where there is more to see."""
        world = tuple(name for name in self.spec.inputs if name != "actions" and name in self.spec.columns)
        self.spec = replace(self.spec, outcome_inputs=world, outcome_hidden=HIDDEN)
        return self.make_outcomes(names, generator)

    def add_outcomes(self, outcomes: StepOutcomes) -> None:
        """Say these of each step, too."""
        self.spec, self.outcomes = replace(self.spec, outcomes=outcomes.names), outcomes

    def combine(self, summary: SummaryReward, weights: tuple[float, float]) -> None:
        """Add the simple part, each part times its weight.

        Args:
            weights: Of `summary` and of the network.
        """
        centres, radial = summary.whiten.shape
        self.spec = replace(self.spec, summary=True, centres=centres, radial=radial)
        self.summary = summary
        with torch.no_grad():
            summary.size *= weights[0]
            self._weigh(weights[1])

    def add_linear(self, linear: LinearSteps, weights: tuple[float, float]) -> None:
        """Add the linear part of the steps, each part times its weight.

        Args:
            weights: Of `linear` and of the network.
        """
        self.spec = replace(self.spec, linear=linear.width > 0, progress=linear.counts_progress)
        self.linear = linear
        with torch.no_grad():
            linear.size *= weights[0]
            self._weigh(weights[1])

    def _weigh(self, weight: float) -> None:
        """Multiply the network's part: φ in place of the output, which is linear in it, so that what counts little is
        little unsure, too."""
        self.hidden_weight *= weight
        self.hidden_bias *= weight

    @torch.no_grad()
    def centre(self, features: Sequence[Features]) -> None:
        """Shift each member's rewards so that their mean over `features` is 0."""
        self.offset += torch.from_numpy(self.score(features)[1].mean(axis=1)).to(self.offset.dtype)

    @property
    def tasks_apart(self) -> tuple[str, ...]:
        """The task types that can have a temperature of their own: where there is no part on summaries."""
        return self.spec.layout.tasks if self.summary is None else ()

    @torch.no_grad()
    def cool(self, temperature: float, by_task: Mapping[str, float] | None = None) -> None:
        """Divide all rewards by the temperature, so that σ(r_a − r_b) is a probability wherever the model is used.

        Args:
            by_task: The temperatures of `tasks_apart`.
        """
        for number, task in enumerate(self.tasks_apart):
            self.task_scale[number] *= temperature / (by_task or {}).get(task, temperature)
        self.output_weight /= temperature
        self.offset /= temperature
        if self.linear is not None:
            self.linear.size /= temperature
        if self.summary is not None:
            self.summary.size /= temperature
            self.summary.slope /= temperature

    @torch.no_grad()
    def score(self, features: Sequence[Features]) -> tuple[np.ndarray, np.ndarray]:
        """Rewards of trajectories: the ensemble's mean (N,) and each member's (K, N), float64."""
        rewards = self._in_batches(features, self.forward)
        return rewards.mean(axis=0), rewards

    @torch.no_grad()
    def score_steps(self, features: Sequence[Features]) -> list[Dense]:
        """What is said of each step of trajectories."""
        found = []
        for start in range(0, len(features), SCORE_BATCH):
            batch = [torch.from_numpy(array) for array in collate(features[start : start + SCORE_BATCH])]
            said = self.dense(self.normalize(*batch[:3]), batch[3])
            arrays = {name: values.double().numpy() for name, values in said.items()}
            for row, steps in enumerate(batch[3].sum(dim=1).tolist()):
                own = {name: values[:, row, :steps] for name, values in arrays.items()}
                found.append(Dense(own.pop("rewards"), own))
        return found

    @torch.no_grad()
    def attribution(self, features: Sequence[Features]) -> dict[str, float]:
        """How much of the reward's variation over `features` belongs to `steps`, to the `end`, and to neither, so that
        it is `spread` over the steps; 1 in all. A network alone is all steps."""
        if self.summary is None:
            return {"steps": 1.0, "end": 0.0, "spread": 0.0}
        part = self.summary

        def split(*batch: torch.Tensor) -> torch.Tensor:
            inputs, mask = self.normalize(*batch[:3]), batch[3]
            steps, end, rest = part.split(inputs, mask)
            own = steps.sum(dim=2) + self.rewards(self.embed(inputs, mask))
            return torch.stack([own, end, rest], dim=2).mean(dim=0, keepdim=True)

        variance = self._in_batches(features, split)[0].var(axis=0)
        return dict(zip(("steps", "end", "spread"), (variance / max(variance.sum(), 1e-12)).tolist(), strict=True))

    @torch.no_grad()
    def spread_rest(self, features: Sequence[Features]) -> None:
        """Fit the linear model of the steps by which `score_steps` spreads what belongs to no step: ridge regression of
        that on the trajectories' mean inputs."""
        if self.summary is None:
            return
        part, width = self.summary, self.spec.width

        def both(*batch: torch.Tensor) -> torch.Tensor:
            inputs, mask = self.normalize(*batch[:3]), batch[3]
            mean, rest = summarize(inputs, mask)[:, :width], part.split(inputs, mask)[2].mean(dim=0)
            return torch.cat([mean, rest.unsqueeze(1)], dim=1).unsqueeze(0)

        found = self._in_batches(features, both)[0]
        x, y = (found - found.mean(axis=0))[:, :-1], (found - found.mean(axis=0))[:, -1]
        part.slope.copy_(torch.from_numpy(np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(width), x.T @ y)))

    @torch.no_grad()
    def last_layer(self, features: Sequence[Features]) -> np.ndarray:
        """(N, K·H + P) float64: φ of all members side by side and the P features of the other parts, scaled so that the
        mean reward is linear in them; without those that no reward depends on."""

        def basis(*batch: torch.Tensor) -> torch.Tensor:
            inputs, mask = self.normalize(*batch[:3]), batch[3]
            parts = []
            if self.hidden_weight.any():
                phi = self.embed(inputs, mask) / self.spec.members
                parts.append(phi.transpose(0, 1).flatten(1))
            if self.linear is not None:
                counted = self._counted(self.progress(inputs, mask), inputs)
                parts.append(self.linear.basis(inputs, mask, counted))
            if self.summary is not None:
                parts.append(self.summary.basis(inputs, mask))
            return torch.cat(parts, dim=1).unsqueeze(0)

        return self._in_batches(features, basis)[0]

    @torch.no_grad()
    def summaries(self, features: Sequence[Features]) -> np.ndarray:
        """(N, 4F) float64, what summarizes each trajectory."""
        return self._in_batches(features, lambda *x: summarize(self.normalize(*x[:3]), x[3]).unsqueeze(0))[0]

    @torch.no_grad()
    def mean_progress(self, features: Sequence[Features]) -> np.ndarray:
        """(N,) float64, of each trajectory as the reward counts it; 0 where it does not."""

        def progress(*batch: torch.Tensor) -> torch.Tensor:
            inputs, mask = self.normalize(*batch[:3]), batch[3]
            share, own = shares(mask, inputs.dtype), self.progress(inputs, mask)
            return (share * (0.0 if own is None else own)).sum(dim=1, keepdim=True).unsqueeze(0)

        return self._in_batches(features, progress)[0, :, 0]

    def _in_batches(self, features: Sequence[Features], function: Any) -> np.ndarray:
        """`function` over padded batches, as (K, N, ...); each trajectory is read once."""
        parts = []
        for start in range(0, len(features), SCORE_BATCH):
            batch = collate(features[start : start + SCORE_BATCH])
            parts.append(function(*(torch.from_numpy(array) for array in batch)).double().numpy())
        return np.concatenate(parts, axis=1)

    def save(self, path: Path) -> None:
        """Write weights and spec; nothing in the file is code."""
        checkpoint.save({"format": FORMAT, "spec": _plain(asdict(self.spec)), "state": self.state_dict()}, path)

    @classmethod
    def load(cls, path: Path) -> RewardModel:
        """Read what `save` wrote, with `weights_only=True`.

        Raises:
            DataError: the file is missing, cut short, or no reward model of this format.
        """
        found = checkpoint.load(path, "reward model", fix="Run `robopref train`.")
        if (number := found.get("format")) != FORMAT:
            older = isinstance(number, int) and number < FORMAT
            why = "; an earlier version made it, whose rewards are not a mean over steps" if older else ""
            raise DataError(
                f"{path}: expected a reward model of format {FORMAT}, found {number!r}{why}.",
                fix="Run `robopref train`.",
            )
        try:
            model = cls(ModelSpec.from_dict(found["spec"]))
            model.load_state_dict(found["state"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise DataError(f"{path}: weights and description differ: {str(error).splitlines()[0]}") from None
        return model.eval()


def _or_mean(normalized: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.isnan(normalized), 0.0, normalized)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: [list(x) if isinstance(x, tuple) else x for x in v] if isinstance(v, tuple) else v for k, v in values.items()
    }
