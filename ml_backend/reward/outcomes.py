"""Progress and success of each step: what is known of whole trajectories in, two calibrated probabilities a step out.

Success is the probability that the task has been done by this step; it is learned from when trajectories succeeded, or
that they never did. Progress is 1 once the task is done, and before that 1 less the time that is still to go, in units
of what a good trajectory of the task takes (their median), at least 0; in a trajectory that never succeeds all of it is
0, so that progress expects little where failures go. (Targets of 0 to 1 along every trajectory teach a clock.)
Both are logistic, on the windows that the reward's network sees, and about what the world looks like: a model that sees
frames or state does not see the actions here, by which it would tell who drives instead. In training each trajectory is
a little beside itself, so that places near those of good trajectories count as near them.

Members leave out one fold of trajectories each, so that every trajectory is judged by one that never saw it: on those
values a temperature and an offset for each of the two are fitted (Platt 1999). The spread over members says how unsure
they are.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ml_backend.reward.dataset import Known, average_precision
from ml_backend.reward.layers import at, temporal_layer, uniform, without_some_tasks
from preference.bradley_terry import sigmoid

PROGRESS = "progress"
OUTCOMES = (PROGRESS, "success")
FEWEST = 5
"""Trajectories that succeeded, below which neither is learned; and that did not, below which success is not."""
CHUNK = 256
"""Trajectories at once."""
MOST = 1000
"""Trajectories that are learned from, drawn of those of which something is known: more change little."""
HIDDEN = 64
"""Width of the network."""
STEPS, BATCH, RATE, DECAY = 100, 32, 1e-2, 1e-3
"""Optimizer steps, trajectories in each, learning rate, weight decay. The form of progress was chosen on one seed of
drawer-open-v3, these on two seeds of it, pick-place, faucet-open, peg-insert-side and plate-slide-v3, none of which the
benchmark uses."""
BESIDE = 0.5
"""Standard deviation of how far a trajectory is beside itself in a training step, in the input's own. On those tasks
and seeds Kendall's tau of progress with the true distance was, at width 32, 0.696 with 0.3 and 150 steps, 0.708 with
0.3 and 100, 0.712 with 0.5 and 100; at width 64, 0.708 with 0.5 and 150, 0.713 with 0.5 and 100."""
OF_EACH = 8
"""Steps of each trajectory that one optimizer step looks at, drawn at random: neighbours say nearly the same. All of 38
take 2.8 times as long. With four seeds of those tasks, Kendall's tau was 0.716 with all and 0.713 with 8, and the area
under precision and recall of success 0.968 both times."""


@dataclass(frozen=True)
class Unseen:
    """How good one outcome is where members had not seen the trajectories."""

    trajectories: int
    error: float
    """Mean distance between probability and target."""
    precision: float
    """Area under precision and recall, of success; nan of progress."""
    temperature: float
    """What the calibration divides by."""


class StepOutcomes(nn.Module):
    """K members' probabilities of `names` at each step."""

    temperature: torch.Tensor
    shift: torch.Tensor
    seen: torch.Tensor

    def __init__(
        self, names: Sequence[str], kind: str, width: int, hidden: int, members: int,
        generator: torch.Generator | None = None, seen: Sequence[bool] | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            seen: (width,) which of the inputs it looks at; default: all.
        """
        super().__init__()
        self.names = tuple(names)
        looked_at = torch.ones(width) if seen is None else torch.tensor(list(seen), dtype=torch.float32)
        self.register_buffer("seen", looked_at, persistent=False)
        self.temporal = temporal_layer(kind, width, hidden, members, generator)
        size: Any = self.temporal.size
        self.hidden_weight = uniform((members, size, hidden), size, generator)
        self.hidden_bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.output_weight = uniform((members, hidden, len(names)), hidden, generator)
        self.output_bias = nn.Parameter(torch.zeros(members, 1, len(names)))
        self.register_buffer("temperature", torch.ones(len(names)))
        self.register_buffer("shift", torch.zeros(len(names)))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Calibrated probabilities (K, B, T, O) from (B, T, F) normalized inputs and (B, T)."""
        return torch.sigmoid(self.logits(inputs, mask) / self.temperature + self.shift)

    def logits(self, inputs: torch.Tensor, mask: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        """(K, B, T, O) before calibration, or (K, B, C, O) at (B, C) `chosen` steps."""
        members = len(self.hidden_weight)
        inputs = inputs * self.seen
        found = self.temporal(inputs * mask.to(inputs.dtype).unsqueeze(-1), mask, chosen).expand(members, -1, -1, -1)
        phi = torch.relu(torch.baddbmm(self.hidden_bias, found.flatten(1, 2), self.hidden_weight))
        return torch.baddbmm(self.output_bias, phi, self.output_weight).unflatten(1, found.shape[1:3])


def learnable(known: Sequence[Known]) -> tuple[str, ...]:
    """Those of `OUTCOMES` that so many known trajectories can teach."""
    succeeded, failed = (sum(one.success is value for one in known) for value in (True, False))
    if succeeded < FEWEST:
        return ()
    return OUTCOMES if failed >= FEWEST else OUTCOMES[:1]


def targets(known: Sequence[Known], lengths: Sequence[int]) -> list[np.ndarray]:
    """For each trajectory the (T, 2) progress and success of its steps, nan where unknown."""
    taken: dict[str, list[int]] = {}
    for one, steps in zip(known, lengths, strict=True):
        if one.success:
            taken.setdefault(one.task, []).append(_done(one, steps))
    typical = {task: max(float(np.median(found)), 1.0) for task, found in taken.items()}
    return [_targets(one, steps, typical.get(one.task, 1.0)) for one, steps in zip(known, lengths, strict=True)]


def _done(one: Known, steps: int) -> int:
    return steps - 1 if one.done is None else min(max(one.done, 0), steps - 1)


def _targets(one: Known, steps: int, typical: float) -> np.ndarray:
    found = np.full((steps, 2), math.nan, np.float32)
    if one.success is False:
        found[:] = 0.0
    elif one.success:
        done = _done(one, steps)
        found[:, 0] = np.clip(1.0 - (done - np.arange(steps)) / typical, 0.0, 1.0)
        found[:done, 1] = math.nan if one.done is None else 0.0
        found[done:, 1] = 1.0
    return found


def learn_outcomes(
    part: StepOutcomes,
    inputs: torch.Tensor,
    mask: torch.Tensor,
    target: np.ndarray,
    fold: np.ndarray,
    rng: np.random.Generator,
    tasks: int,
) -> dict[str, Unseen]:
    """Fit and calibrate `part`.

    Args:
        inputs: (U, T, F) normalized inputs of the trajectories, of which the last `tasks` columns are the task types'.
        mask: (U, T).
        target: (U, T, 2) of `targets`, nan beyond a trajectory's end.
        fold: (U,) of each trajectory; member k learns nothing from fold k.
    """
    y = torch.from_numpy(target[..., : len(part.names)])
    there, y = torch.isfinite(y), torch.nan_to_num(y)
    kept = torch.from_numpy(fold != np.arange(len(part.hidden_weight))[:, None])
    optimizer = torch.optim.Adam(part.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    lengths = mask.sum(dim=1).numpy()
    size = BESIDE * inputs[mask].std(dim=0, unbiased=False)
    size[len(size) - tasks :] = 0.0
    order = np.concatenate([rng.permutation(len(inputs)) for _ in range(-(-STEPS * BATCH // len(inputs)))])
    for some in order[: STEPS * BATCH].reshape(STEPS, BATCH):
        rows = torch.from_numpy(some)
        longest = int(lengths[some].max())
        seen = without_some_tasks(_beside(inputs[rows, :longest], size, rng), tasks, rng)
        chosen = torch.from_numpy(rng.integers(lengths[some, None], size=(len(some), OF_EACH)))
        logits = part.logits(seen, mask[rows, :longest], chosen)
        weight = (at(there[rows], chosen) * kept[:, rows, None, None]).to(logits.dtype)
        wanted = at(y[rows], chosen).expand_as(logits)
        loss = binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
        optimizer.zero_grad()
        (len(kept) * loss / weight.sum().clamp(min=1.0)).backward()
        optimizer.step()
        schedule.step()
    return _calibrate(part, inputs, mask, y, there, ~kept)


@torch.no_grad()
def unseen_progress(part: StepOutcomes, inputs: torch.Tensor, mask: torch.Tensor, knew: np.ndarray) -> torch.Tensor:
    """(B, T) progress by the members that did not learn from the trajectory; by all where each of them did.

    Args:
        knew: (K, B) bool: which member learned from which.
    """
    said = part(inputs, mask)[..., part.names.index(PROGRESS)]
    counts = torch.from_numpy(~knew | knew.all(axis=0)).to(said.dtype)
    return (said * (counts / counts.sum(dim=0)).unsqueeze(2)).sum(dim=0)


def _beside(inputs: torch.Tensor, size: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(B, T, F), each trajectory moved as a whole; what is missing, and so 0, stays so."""
    drawn = torch.from_numpy(rng.standard_normal((len(inputs), 1, len(size)), dtype=np.float32))
    return inputs + drawn * size * (inputs != 0.0)


@torch.no_grad()
def _calibrate(
    part: StepOutcomes,
    inputs: torch.Tensor,
    mask: torch.Tensor,
    y: torch.Tensor,
    there: torch.Tensor,
    unseen: torch.Tensor,
) -> dict[str, Unseen]:
    """A temperature and an offset for each outcome, by the member that saw nothing of the trajectory."""
    weight = unseen.to(inputs.dtype)
    logits = torch.cat([
        (part.logits(inputs[rows], mask[rows]) * weight[:, rows, None, None]).sum(dim=0)
        for rows in torch.arange(len(inputs)).split(CHUNK)
    ])  # fmt: skip
    judged = unseen.any(dim=0)[:, None, None] & there
    found = {}
    for place, name in enumerate(part.names):
        own = judged[..., place]
        x, t = (values[..., place][own].double().numpy() for values in (logits, y))
        temperature, shift = fit_platt(x, t)
        part.temperature[place], part.shift[place] = temperature, shift
        p = sigmoid(x / temperature + shift)
        both = name == "success" and 0.0 < t.mean() < 1.0
        precision = average_precision(p, t > 0.5) if both else math.nan
        count = int(own.any(dim=1).sum())
        found[name] = Unseen(count, float(np.abs(p - t).mean()), precision, temperature)
    return found


def fit_platt(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(temperature, shift) with which σ(x / temperature + shift) makes the shares y in [0, 1] most likely.

    A weak prior at (1, 0) keeps it finite where classes are told apart without a mistake.
    """
    from scipy.optimize import minimize

    def cost(w: np.ndarray) -> float:
        z = w[0] * x + w[1]
        return float(np.mean(np.logaddexp(0.0, z) - y * z)) + 1e-3 * float((w[0] - 1.0) ** 2 + w[1] ** 2)

    found: Any = minimize(cost, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, 20.0), (-10.0, 10.0)])
    return 1.0 / float(found.x[0]), float(found.x[1])
