"""A Robopref reward model for LeRobot, and ACT that its progress can weight: importing this registers the types
`robopref` and `act_weighted`.

LeRobot finds them with `--reward_model.discover_packages_path=lerobot_reward_robopref` and
`--policy.discover_packages_path=lerobot_reward_robopref`, or after `import lerobot_reward_robopref`.
"""

from lerobot_reward_robopref.configuration_act_weighted import ActWeightedConfig
from lerobot_reward_robopref.configuration_robopref import RoboprefConfig
from lerobot_reward_robopref.modeling_act_weighted import ActWeightedPolicy
from lerobot_reward_robopref.modeling_robopref import RoboprefRewardModel

__all__ = ["ActWeightedConfig", "ActWeightedPolicy", "RoboprefConfig", "RoboprefRewardModel"]
