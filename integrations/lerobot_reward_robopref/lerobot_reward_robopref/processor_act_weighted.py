"""The steps around the policy: those of LeRobot's ACT."""

from typing import Any

from lerobot.policies.act.processor_act import make_act_pre_post_processors

from lerobot_reward_robopref.configuration_act_weighted import ActWeightedConfig


def make_act_weighted_pre_post_processors(config: ActWeightedConfig, dataset_stats: Any = None) -> tuple[Any, Any]:
    """Before and after the policy; `dataset_stats` normalize what goes in and comes out."""
    return make_act_pre_post_processors(config, dataset_stats)
