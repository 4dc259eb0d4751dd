"""What a released reward model is, as LeRobot's config.json holds it; a release brings that file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

try:
    from lerobot.configs.rewards import RewardModelConfig
except ImportError as error:
    raise ImportError(
        "lerobot_reward_robopref needs LeRobot 0.6 or newer, which has reward models. With older versions use "
        "`robopref export lerobot`: its columns and robopref_progress.parquet need no plugin."
    ) from error

from lerobot.optim import OptimizerConfig


@RewardModelConfig.register_subclass("robopref")
@dataclass
class RoboprefConfig(RewardModelConfig):
    """Configuration of a Robopref reward model.

    Args:
        spec: The model's description as JSON, as Robopref's checkpoint has it; a release fills it in.
        contract: What the model was trained on as JSON: names, sizes and ranges of actions and state, the columns of
            the source dataset, the rate.
        delta_indices: Steps, relative to the present one, that LeRobot's datasets give `compute_reward`; None = the
            present one alone. With several, the reward is that of the whole window.
    """

    spec: str = "{}"
    contract: str = "{}"
    delta_indices: list[int] | None = None

    @property
    def described(self) -> dict[str, Any]:
        """`contract` as a dictionary.

        Raises:
            ValueError: the configuration is of no released model.
        """
        found = json.loads(self.contract)
        if not found.get("inputs"):
            raise ValueError("This configuration describes no model: take config.json and the weights of a release.")
        return found

    @property
    def observation_delta_indices(self) -> list[int] | None:
        return self.delta_indices

    @property
    def action_delta_indices(self) -> list[int] | None:
        return self.delta_indices

    def get_optimizer_preset(self) -> OptimizerConfig | None:
        return None  # trained by Robopref, on people's answers

    def validate_features(self) -> None:
        """
        Raises:
            ValueError: the dataset lacks a column that the model needs.
        """
        needed = columns_of(self.described)
        if self.input_features and (missing := [name for name in needed if name not in self.input_features]):
            raise ValueError(
                f"The dataset has no {missing[0]!r}; this reward model was trained with {', '.join(needed)}."
            )


def columns_of(contract: dict[str, Any]) -> list[str]:
    """Keys of a batch that the model needs."""
    columns, inputs = contract["columns"], contract["inputs"]
    found = [columns["camera"]] if "frames" in inputs else []
    return found + [name for kind in ("actions", "state") if kind in inputs for name, _ in columns[kind]]
