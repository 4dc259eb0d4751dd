"""ACT with a loss for each sample, which `lerobot-train --sample_weighting.type=rabc` asks of a policy.

In LeRobot 0.6.1 only its large models (pi0, pi0.5, SmolVLA and the like) give one; `act` ends in a TypeError.
"""

import torch
from lerobot.policies.act.modeling_act import ACTPolicy
from torch import Tensor
from torch.nn.functional import l1_loss

from lerobot_reward_robopref.configuration_act_weighted import ActWeightedConfig

ACTION, IMAGES = "action", "observation.images"


class ActWeightedPolicy(ACTPolicy):
    """LeRobot's ACT; only the training loss can be had for each sample."""

    config_class = ActWeightedConfig
    name = "act_weighted"

    def forward(self, batch: dict[str, Tensor], reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        """
        Args:
            reduction: `mean`, as ACT does; or `none`: one loss for each of the B samples, (B,).
        """
        if reduction == "mean":
            return super().forward(batch)
        if reduction != "none":
            raise ValueError(f"reduction: expected 'mean' or 'none', found {reduction!r}")
        if self.config.image_features:
            batch = {**batch, IMAGES: [batch[key] for key in self.config.image_features]}
        actions, (mean, log_variance) = self.model(batch)
        valid = (~batch["action_is_pad"]).unsqueeze(-1).expand_as(actions)
        error = l1_loss(batch[ACTION], actions, reduction="none") * valid
        loss = error.sum(dim=(1, 2)) / valid.sum(dim=(1, 2)).clamp_min(1)
        told = {"l1_loss": loss.mean().item()}
        if self.config.use_vae and log_variance is not None:
            divergence = -0.5 * (1 + log_variance - mean.pow(2) - torch.exp(log_variance)).sum(-1)
            told["kld_loss"] = divergence.mean().item()
            loss = loss + divergence * self.config.kl_weight
        return loss, told
