"""The reward model: frame features, actions and state of a trajectory in, one reward per ensemble member out.

    inputs (B, T, F) → temporal layer (`mean`, `conv1d` or `transformer`) → 2-layer MLP → reward (K, B)
                     → summary → linear and radial features (`summary`)              → reward (K, B), added

All K members are one computation: the temporal layer's and the MLP's weights have a leading member axis.
Normalization is part of the module, so a caller passes values as recorded; steps beyond a trajectory's end are masked
out everywhere, so that neither padding nor length by itself can change a reward. The convention is Bradley and
Terry's (1952): P(a ≻ b) = σ(r_a − r_b).

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ml_backend.reward import checkpoint
from ml_backend.reward.features import Features, Normalization, collate
from ml_backend.reward.summary import SummaryReward, summarize
from preference.errors import ConfigError, DataError

FORMAT = 3
"""Of the file; format 2 had the network alone, and is still read."""
READ = (2, FORMAT)
CLIP = 5.0
"""Normalized inputs are held within ± so many standard deviations: one broken sensor value moves a reward little."""
SCORE_BATCH = 256
KERNEL = 3
"""Steps that the convolution sees at once."""
HEADS = 4
"""Of the transformer's attention, where `hidden` can be divided so."""


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
    """Principal components of the frame features that are looked at."""
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

    @property
    def sizes(self) -> dict[str, int]:
        """Values per step of frames, actions and state, as they are recorded."""
        return {"frames": self.frame_size, "actions": len(self.action_names), "state": len(self.state_names)}

    @property
    def width(self) -> int:
        """F, the length of one step's normalized input."""
        return sum(self.widths)

    @property
    def widths(self) -> list[int]:
        """What each of `inputs` has in it."""
        sizes = self.sizes | {"frames": self.projection}
        return [sizes[name] for name in self.inputs]

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ModelSpec:
        known = [f.name for f in fields(cls) if f.name in row or f.default is MISSING]
        values: dict[str, Any] = {name: row[name] for name in known}
        listed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**listed)


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
        self.temporal = temporal_layer(spec.temporal, spec.width, hidden, members, generator)
        pooled: Any = self.temporal.size
        self.hidden_weight = uniform((members, pooled, hidden), pooled, generator)
        self.hidden_bias = nn.Parameter(torch.zeros(members, hidden))
        self.output_weight = uniform((members, hidden), hidden, generator)
        self.log_nu = nn.Parameter(torch.zeros(members))
        """Log of Davidson's ν; trained only where ties are modelled by it."""
        self.summary = None
        if spec.summary:
            self.summary = SummaryReward(spec.width, spec.centres, spec.radial, members)

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
        return rewards if self.summary is None else rewards + self.summary(inputs, mask)

    def normalize(self, frames: torch.Tensor, actions: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """The inputs that the model uses, each about standard normal over the pool it was trained on: (B, T, F)."""
        parts = {
            "frames": lambda: frames @ self.frame_projection - self.frame_mean @ self.frame_projection,
            "actions": lambda: (actions - self.action_mean) * self.action_scale,
            "state": lambda: (state - self.state_mean) * self.state_scale,
        }
        return torch.cat([parts[name]() for name in self.spec.inputs], dim=-1).clamp(-CLIP, CLIP)

    def embed(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Each member's last-layer features φ, (K, B, H); the reward is linear in them.

        Args:
            inputs: (B, T, F) from `normalize`.
            mask: (B, T).
        """
        pooled = self.temporal(inputs * mask.to(inputs.dtype).unsqueeze(-1), mask)
        return torch.relu(torch.matmul(pooled, self.hidden_weight) + self.hidden_bias.unsqueeze(1))

    def rewards(self, phi: torch.Tensor) -> torch.Tensor:
        """The network's part, (K, B), from φ (K, B, H); centred on the pool, which changes no difference."""
        return torch.einsum("kbh,kh->kb", phi, self.output_weight) - self.offset.unsqueeze(1)

    @torch.no_grad()
    def set_normalization(self, values: Normalization) -> None:
        """Take over what `dataset.fit_normalization` measured on the training pool."""
        for name, value in asdict(values).items():
            getattr(self, name).copy_(torch.as_tensor(value, dtype=torch.float32))

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
            # φ in place of the output, which is linear in it: what counts little is then little unsure, too
            self.hidden_weight *= weights[1]
            self.hidden_bias *= weights[1]

    @torch.no_grad()
    def centre(self, features: Sequence[Features]) -> None:
        """Shift each member's rewards so that their mean over `features` is 0."""
        self.offset += torch.from_numpy(self.score(features)[1].mean(axis=1)).to(self.offset.dtype)

    @torch.no_grad()
    def cool(self, temperature: float) -> None:
        """Divide all rewards by the temperature, so that σ(r_a − r_b) is a probability wherever the model is used."""
        self.output_weight /= temperature
        self.offset /= temperature
        if self.summary is not None:
            self.summary.size /= temperature

    @torch.no_grad()
    def score(self, features: Sequence[Features]) -> tuple[np.ndarray, np.ndarray]:
        """Rewards of trajectories: the ensemble's mean (N,) and each member's (K, N), float64."""
        rewards = self._in_batches(features, self.forward)
        return rewards.mean(axis=0), rewards

    @torch.no_grad()
    def last_layer(self, features: Sequence[Features]) -> np.ndarray:
        """(N, K·H + P) float64: φ of all members side by side and the P features of the part on summaries, scaled so
        that the mean reward is linear in them; without those that no reward depends on."""

        def basis(*batch: torch.Tensor) -> torch.Tensor:
            inputs, mask = self.normalize(*batch[:3]), batch[3]
            parts = []
            if self.hidden_weight.any():
                phi = self.embed(inputs, mask) / self.spec.members
                parts.append(phi.transpose(0, 1).flatten(1))
            if self.summary is not None:
                parts.append(self.summary.basis(inputs, mask))
            return torch.cat(parts, dim=1).unsqueeze(0)

        return self._in_batches(features, basis)[0]

    @torch.no_grad()
    def summaries(self, features: Sequence[Features]) -> np.ndarray:
        """(N, 4F) float64, what summarizes each trajectory."""
        return self._in_batches(features, lambda *x: summarize(self.normalize(*x[:3]), x[3]).unsqueeze(0))[0]

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
        if found.get("format") not in READ:
            raise DataError(
                f"{path}: expected a reward model of format {FORMAT}, found {found.get('format')!r}.",
                fix="Run `robopref train`.",
            )
        try:
            model = cls(ModelSpec.from_dict(found["spec"]))
            model.load_state_dict(found["state"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise DataError(f"{path}: weights and description differ: {str(error).splitlines()[0]}") from None
        return model.eval()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def temporal_layer(kind: str, width: int, hidden: int, members: int, generator: torch.Generator | None) -> nn.Module:
    """The layer of that name: steps (B, T, F) and their mask in, (K, B, P) out; `.size` is P.

    Nothing of a trajectory's length reaches the result by itself: steps beyond its end are left out, the convolution
    repeats the first and the last step instead of seeing zeros there, and the transformer knows only how far apart two
    steps are (rotary positions, Su et al. 2021). So a robot that stands still gets the same vector after two seconds
    and after ten.

    Raises:
        ConfigError: there is none of that name.
    """
    if kind == "mean":
        return Mean(width)
    if kind == "conv1d":
        return Convolution(width, hidden, members, generator)
    if kind == "transformer":
        return Transformer(width, hidden, members, generator)
    raise ConfigError(f"reward.temporal: expected mean, conv1d or transformer, found {kind!r}.")


class Mean(nn.Module):
    """Blind to order; the only one whose result is the same for all members: (1, B, F)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.size = width

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return _over_time(inputs, mask).unsqueeze(0)


class Convolution(nn.Module):
    """Each step with its two neighbours, then the mean: what changes from step to step counts, in the large no order.

    One matrix product for all members, for they share its input; on a CPU twice as fast as torch's convolution.
    """

    def __init__(self, width: int, hidden: int, members: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.size, self.members = hidden, members
        self.weight = uniform((KERNEL * width, members * hidden), KERNEL * width, generator)
        self.bias = nn.Parameter(torch.zeros(members * hidden))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        before = torch.cat([inputs[:, :1], inputs[:, :-1]], dim=1)
        after = torch.cat([inputs[:, 1:], inputs[:, -1:]], dim=1)
        goes_on = torch.cat([mask[:, 1:], mask[:, -1:]], dim=1).unsqueeze(-1)
        seen = torch.cat([before, inputs, torch.where(goes_on, after, inputs)], dim=-1)
        pooled = _over_time(torch.relu(torch.matmul(seen, self.weight) + self.bias), mask)
        return pooled.unflatten(1, (self.members, self.size)).transpose(0, 1)


class Transformer(nn.Module):
    """One block of attention over all steps, then the mean; each member has its own weights."""

    def __init__(self, width: int, hidden: int, members: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.size, self.members = hidden, members
        self.heads = next(n for n in (HEADS, 2, 1) if hidden % (2 * n) == 0 or n == 1)
        self.enter = uniform((members, width, hidden), width, generator)
        self.attend = uniform((members, hidden, 3 * hidden), hidden, generator)
        self.merge = uniform((members, hidden, hidden), hidden, generator)
        self.widen = uniform((members, hidden, 2 * hidden), hidden, generator)
        self.narrow = uniform((members, 2 * hidden, hidden), 2 * hidden, generator)

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, steps = inputs.shape[0], inputs.shape[1]
        x = torch.matmul(inputs.flatten(0, 1), self.enter)  # (K, B·T, H)
        q, k, v = (self._split(part, batch, steps) for part in torch.matmul(_norm(x), self.attend).chunk(3, dim=-1))
        seen = mask.view(1, batch, 1, 1, steps)
        weights = (_rotated(q) @ _rotated(k).transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~seen, -1e9)
        found = (weights.softmax(dim=-1) @ v).transpose(2, 3).reshape(self.members, batch * steps, self.size)
        x = x + torch.matmul(found, self.merge)
        x = x + torch.matmul(torch.relu(torch.matmul(_norm(x), self.widen)), self.narrow)
        x = x.reshape(self.members * batch, steps, self.size)
        every = mask.unsqueeze(0).expand(self.members, batch, steps).reshape(self.members * batch, steps)
        return _over_time(x, every).reshape(self.members, batch, self.size)

    def _split(self, x: torch.Tensor, batch: int, steps: int) -> torch.Tensor:
        """(K, B·T, H) → (K, B, heads, T, H / heads)."""
        return x.reshape(self.members, batch, steps, self.heads, self.size // self.heads).transpose(2, 3)


def uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator | None) -> nn.Parameter:
    """Initial weights, uniform in ±1/√inputs: torch's own choice for a linear layer."""
    bound = 1.0 / math.sqrt(max(1, inputs))
    return nn.Parameter((torch.rand(shape, generator=generator) * 2.0 - 1.0) * bound)


def _over_time(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, T, P) over the steps that are there: (B, P)."""
    weight = mask.to(x.dtype)
    weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1.0)
    return torch.bmm(weight.unsqueeze(1), x).squeeze(1)


def _norm(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.layer_norm(x, x.shape[-1:])


def _rotated(x: torch.Tensor) -> torch.Tensor:
    """(..., T, d), turned by an angle that grows with the step: products of two depend on their distance alone."""
    half = x.shape[-1] // 2
    steps = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)
    rates = 100.0 ** (-torch.arange(half, dtype=x.dtype, device=x.device) / max(1, half))
    angle = steps.unsqueeze(-1) * rates
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos, rest], dim=-1)
