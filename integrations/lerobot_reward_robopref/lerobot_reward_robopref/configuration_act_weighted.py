"""ACT whose samples can be weighted; LeRobot finds the policy and its processors by the names of these files."""

from dataclasses import dataclass

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig


@PreTrainedConfig.register_subclass("act_weighted")
@dataclass
class ActWeightedConfig(ACTConfig):
    """LeRobot's `act` in all else: `--policy.type=act_weighted`, with the options of `act`."""
