"""The pipelines around the model: a batch dimension and the device before it, nothing after it.

Nothing is normalized: the model takes values as recorded and normalizes them itself.
"""

from __future__ import annotations

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyAction,
    PolicyProcessorPipeline,
)
from lerobot.utils.constants import POLICY_POSTPROCESSOR_DEFAULT_NAME, POLICY_PREPROCESSOR_DEFAULT_NAME

from lerobot_reward_robopref.configuration_robopref import RoboprefConfig


def make_robopref_pre_post_processors(
    config: RoboprefConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]], PolicyProcessorPipeline[PolicyAction, PolicyAction]
]:
    """LeRobot's factory calls this; `dataset_stats` are not needed."""
    del dataset_stats
    before = [AddBatchDimensionProcessorStep(), DeviceProcessorStep(device=config.device or "cpu")]
    return (
        PolicyProcessorPipeline(steps=before, name=POLICY_PREPROCESSOR_DEFAULT_NAME),
        PolicyProcessorPipeline(steps=[], name=POLICY_POSTPROCESSOR_DEFAULT_NAME),
    )
