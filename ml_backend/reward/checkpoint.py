"""What a training knows between its epochs, as one file, so that a killed one resumes and ends with the same weights.

Files are written whole or not at all and read with `weights_only=True`. A checkpoint carries a key of everything that
the weights depend on: that of another configuration is refused, not continued.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ml_backend.reward.dataset import share_right
from preference.artifacts import replacing
from preference.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import nn


class Stateful(Protocol):
    """A torch module, optimizer or schedule."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


class TrainingState:
    """Everything that the next epoch depends on, the curves so far, and the best weights with which to end.

    Args:
        model: Whose best weights are kept.
        others: What else is trained, and what trains it; name → part.
        rng: Draws the order of pairs.
    """

    def __init__(self, model: nn.Module, others: Mapping[str, Stateful], rng: np.random.Generator) -> None:
        self.model, self.rng = model, rng
        self._parts: dict[str, Stateful] = {"model": model, **others}
        self.epoch = 0
        self.losses: list[float] = []
        """One per optimizer step."""
        self._counted = 0
        """How many of the losses are of finished epochs."""
        self.curves: dict[str, list[float]] = {"train_loss": [], "validation_loss": [], "validation_accuracy": []}
        self.best_epoch = 0
        self.best = self._weights()

    def finish_epoch(self, validation_loss: float, x: np.ndarray, label: np.ndarray) -> None:
        """Judge the epoch on the validation pairs, and keep its weights if they are the best so far.

        Args:
            x: (V,) r_a − r_b of the validation pairs.
            label: (V,) 1.0, 0.0 or 0.5.
        """
        self.epoch += 1
        train_loss = float(np.mean(self.losses[self._counted :]))
        self._counted = len(self.losses)
        figures = (train_loss, validation_loss, share_right(x, label))
        for name, value in zip(self.curves, figures, strict=True):
            self.curves[name].append(value)
        if is_better(self.curves["validation_loss"], self.best_epoch, len(label)):
            self.best, self.best_epoch = self._weights(), self.epoch

    def finished(self, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or `patience` of them brought nothing better."""
        return self.epoch >= epochs or (self.best_epoch > 0 and self.epoch - self.best_epoch >= patience)

    def save(self, path: Path, key: str) -> None:
        """
        Raises:
            DiskFull: there is no space for it.
        """
        state = {
            "key": key,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "rng": json.dumps(self.rng.bit_generator.state),
            "epoch": self.epoch,
            "losses": self.losses,
            "curves": self.curves,
            "best_epoch": self.best_epoch,
            "best": self.best,
        }
        save(state, path)

    def resume(self, path: Path, key: str) -> None:
        """Continue from what `save` wrote.

        Raises:
            DataError: the file is broken, or belongs to another training.
        """
        fix = f"Delete {path} and train again."
        found = load(path, "checkpoint", fix)
        if found.get("key") != key:
            raise DataError(
                f"{path} is the checkpoint of another configuration: expected {key!r}, found {found.get('key')!r}; "
                "labels, features, settings or the seed have changed since.",
                fix=fix,
            )
        try:
            for name, part in self._parts.items():
                part.load_state_dict(found["parts"][name])
            self.rng.bit_generator.state = json.loads(found["rng"])
            self.epoch, self.losses, self.curves = found["epoch"], found["losses"], found["curves"]
            self.best_epoch, self.best, self._counted = found["best_epoch"], found["best"], len(self.losses)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"{path} is not a checkpoint of this version: {error}.", fix=fix) from None

    def _weights(self) -> dict[str, torch.Tensor]:
        state = self.model.state_dict()
        return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}


def is_better(losses: Sequence[float], best_epoch: int, pairs: int) -> bool:
    """Whether the newest epoch takes the place of `best_epoch` (from 1; 0 = none yet): it has a lower validation loss.

    The loss is a proper score, so it also asks that σ(r_a − r_b) be a probability. Accuracy is not asked: of thirty
    pairs all may happen to be right at epoch 1, when rewards are still 20 times too small. Without validation pairs
    nothing tells epochs apart, and the last one is kept.
    """
    return best_epoch == 0 or not pairs or losses[-1] < losses[best_epoch - 1]


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write tensors, numbers, texts, lists and dictionaries of them; nothing in the file is code.

    Raises:
        DiskFull: there is no space for it.
    """
    import torch

    # In memory first: on a full disk torch's own writer fails with an error that does not say so
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load(path: Path, kind: str, fix: str) -> dict[str, Any]:
    """What `save` wrote.

    Args:
        kind: What it should be, for the message: `reward model`, `checkpoint`.

    Raises:
        DataError: the file is missing, truncated, or something else.
    """
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"The {kind} {path} is missing.", fix=fix) from None
    except Exception as error:  # torch answers a broken file with a dozen kinds of error
        raise DataError(f"{path} is not a {kind}, or is truncated: {reason(error)}.", fix=fix) from None
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a {kind}: it holds a {type(found).__name__}.", fix=fix)
    return found


def reason(error: Exception) -> str:
    """What torch says of a broken file, without its advice to load it in the way that runs the code in it."""
    if isinstance(error, pickle.UnpicklingError) or isinstance(error.__cause__, pickle.UnpicklingError):
        return "it holds other things than weights"
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
