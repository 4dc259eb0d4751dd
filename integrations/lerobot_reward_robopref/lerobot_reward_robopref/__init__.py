"""A Robopref reward model for LeRobot: importing this registers the type `robopref`.

LeRobot finds it with `--reward_model.discover_packages_path=lerobot_reward_robopref`, or after `import
lerobot_reward_robopref`.
"""

from lerobot_reward_robopref.configuration_robopref import RoboprefConfig
from lerobot_reward_robopref.modeling_robopref import RoboprefRewardModel

__all__ = ["RoboprefConfig", "RoboprefRewardModel"]
