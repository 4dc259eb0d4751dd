"""`RoboprefRewardModel`: a batch as LeRobot has it in, one reward for each of its samples out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lerobot.rewards.pretrained import PreTrainedRewardModel
from safetensors import SafetensorError
from torch import Tensor

from lerobot_reward_robopref.configuration_robopref import RoboprefConfig, columns_of
from lerobot_reward_robopref.robopref_model.ml_backend.reward.encoder import load
from lerobot_reward_robopref.robopref_model.ml_backend.reward.encoder_weights import EncoderSettings
from lerobot_reward_robopref.robopref_model.ml_backend.reward.model import ModelSpec, RewardModel

RELEASED = "reward_model.safetensors"
"""What a release calls the weights; LeRobot's own name is model.safetensors."""


class RoboprefRewardModel(PreTrainedRewardModel):
    """A released reward model; `from_pretrained` takes a release's folder or a model repository."""

    config_class = RoboprefConfig
    name = "robopref"

    def __init__(self, config: RoboprefConfig, **_: Any) -> None:
        super().__init__(config)
        self.contract = config.described
        several = {name: len(self.contract.get(name) or ()) > 1 for name in ("cameras", "robots")}
        several["tasks"] = bool(self.contract.get("task_columns"))
        if more := [name for name, there in several.items() if there]:
            raise ValueError(
                f"This model was trained with several {more[0]}, which this package does not pass on to it yet. "
                "The release's inference.py does."
            )
        spec = ModelSpec.from_dict(json.loads(config.spec))
        self.head = RewardModel(spec)
        self.encoder = None
        if "frames" in spec.inputs:
            self.encoder = load(EncoderSettings(spec.encoder, "none", spec.encoder_digest, spec.image_size)).module

    @torch.no_grad()
    def compute_reward(self, batch: dict[str, Tensor]) -> Tensor:
        """The reward of each sample, (B,) float32; higher is better, and only differences within a task mean anything.

        Args:
            batch: The columns that the model was trained with, as recorded, not normalized: images (B, C, H, W) or
                (B, T, C, H, W), float in 0-1 or uint8; actions and state (B, D) or (B, T, D). `KEY_is_pad` (B, T) marks
                steps beyond an episode. With T > 1 the reward is that of the window. `task` (B,) texts tell a model of
                several task types which one; of another, or none, it gives what they share. Of a model with several
                cameras the primary one is seen.

        Raises:
            KeyError: a column is missing.
            ValueError: a column has another size than in training.
        """
        if missing := [name for name in columns_of(self.contract) if name not in batch]:
            raise KeyError(
                f"The batch has no {missing[0]!r}. This reward model was trained on "
                f"{', '.join(columns_of(self.contract))}; found {', '.join(sorted(batch))}."
            )
        parts = {kind: self._numbers(batch, kind) for kind in ("actions", "state") if kind in self.contract["inputs"]}
        frames = self._frames(batch)
        # where only the policy's actions come in chunks, the present one counts
        steps = min(part.shape[1] for part in (*parts.values(), *([] if frames is None else [frames])))
        parts = {kind: part[:, :steps] for kind, part in parts.items()}
        any_part = frames if frames is not None else next(iter(parts.values()))
        size, device = len(any_part), any_part.device
        if frames is None:
            features = torch.zeros(size, steps, 0, device=device)
        else:
            features = self.encoder(frames[:, :steps].flatten(0, 1)).reshape(size, steps, -1)
            hidden = self.head.spec.frame_size - features.shape[-1]
            features = torch.cat([features, features.new_full((size, steps, hidden), torch.nan)], dim=-1)
        empty = torch.zeros(size, steps, 0, device=device)
        mask = self._mask(batch, size, steps, device)
        state = self._with_tasks(batch, parts.get("state"), size, steps, device)
        return self.head(features, parts.get("actions", empty), state, mask).mean(dim=0)

    def _with_tasks(
        self, batch: dict[str, Any], state: Tensor | None, size: int, steps: int, device: torch.device
    ) -> Tensor:
        """The state, and after it the columns that say which task type it is."""
        spec = self.head.spec
        tasks = spec.layout.tasks
        if state is None:
            state = torch.zeros(size, steps, len(spec.state_names) if tasks else 0, device=device)
        named = batch.get("task", "")
        named = [named] * size if isinstance(named, str) else named
        own = torch.tensor([[float(name == task) for task in tasks] for name in named], device=device)
        return torch.cat([state, own.reshape(size, 1, len(tasks)).expand(size, steps, len(tasks))], dim=-1)

    def _numbers(self, batch: dict[str, Tensor], kind: str) -> Tensor:
        """(B, T, D) of the columns in the order of training."""
        expected = self.contract[kind]
        found = []
        for name, indices in self.contract["columns"][kind]:
            values = batch[name].float()
            values = values.unsqueeze(1) if values.ndim == 2 else values
            if values.ndim != 3 or (indices and max(indices) >= values.shape[-1]):
                raise self._other(kind, name, batch[name])
            found.append(values[..., indices] if indices else values)
        whole = torch.cat(found, dim=-1)
        if whole.shape[-1] != expected["size"]:
            name = self.contract["columns"][kind][0][0]
            raise self._other(kind, name, batch[name])
        return whole

    def _other(self, kind: str, name: str, found: Tensor) -> ValueError:
        expected = self.contract[kind]
        names = ", ".join(expected["names"])
        return ValueError(
            f"{name} has shape {tuple(found.shape)}; this reward model takes {expected['size']} numbers of {kind} "
            f"({names}). Was it trained on another robot?"
        )

    def _frames(self, batch: dict[str, Tensor]) -> Tensor | None:
        """(B, T, H, W, C) uint8."""
        if self.encoder is None:
            return None
        name = self.contract["columns"]["camera"]
        images = batch[name]
        images = images.unsqueeze(1) if images.ndim == 4 else images
        if images.ndim != 5 or images.shape[2] != 3:
            raise ValueError(f"{name} has shape {tuple(batch[name].shape)}; expected (B, 3, H, W) or (B, T, 3, H, W).")
        if images.is_floating_point():
            images = (images * 255.0).round().clamp(0, 255).to(torch.uint8)
        return images.permute(0, 1, 3, 4, 2)

    def _mask(self, batch: dict[str, Tensor], size: int, steps: int, device: torch.device) -> Tensor:
        padded = batch.get(f"{columns_of(self.contract)[0]}_is_pad")
        if padded is None:
            return torch.ones(size, steps, dtype=torch.bool, device=device)
        mask = ~padded.reshape(size, -1)[:, :steps]
        mask[:, :1] |= ~mask.any(dim=1, keepdim=True)  # a sample has at least one step
        return mask

    @classmethod
    def _load_as_safetensor(
        cls, model: RoboprefRewardModel, model_file: str, map_location: str, strict: bool
    ) -> RoboprefRewardModel:
        """Every weight has to be there: half a model gives numbers, too.

        Raises:
            ValueError: the file is broken, or of another model than config.json.
        """
        path = Path(model_file)
        if not path.is_file():
            path = path.with_name(RELEASED)
        if not path.is_file():
            raise FileNotFoundError(f"{path.parent} has neither {Path(model_file).name} nor {RELEASED}.")
        try:
            return super()._load_as_safetensor(model, str(path), map_location, strict=True)
        except SafetensorError as error:
            raise ValueError(f"{path} is broken or cut short ({error}). Download it again.") from None
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} and config.json are not of one release: {reason}") from None
