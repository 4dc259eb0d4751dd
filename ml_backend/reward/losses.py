"""Bradley-Terry losses in torch, for all members at once; the formulas of `preference.bradley_terry`.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import logsigmoid, softplus


def crowd_loss(
    x: torch.Tensor, label: torch.Tensor, log_nu: torch.Tensor, ties: str, margin: float, log_odds: torch.Tensor
) -> torch.Tensor:
    """The same of single judgments, whose annotators are right with probability η (Crowd-BT), (K, M).

    Args:
        log_odds: (K, M) log η/(1 − η) of each judgment's annotator.
    """
    honest = pair_loss(x, label, log_nu, ties, margin)
    swapped = pair_loss(x, 1.0 - label, log_nu, ties, margin)
    return -torch.logaddexp(logsigmoid(log_odds) - honest, logsigmoid(-log_odds) - swapped)


def slipped_loss(
    x: torch.Tensor, label: torch.Tensor, log_nu: torch.Tensor, ties: str, margin: float, slip: float
) -> torch.Tensor:
    """`pair_loss` of people who press the wrong key with probability `slip`: P = (1 − slip) P(label) + slip P(swapped).

    It bounds what one mistake on an obvious pair can cost (Christiano et al. 2017 assume the same of 10 % of answers).
    """
    honest = pair_loss(x, label, log_nu, ties, margin)
    if slip == 0.0:
        return honest
    swapped = pair_loss(x, 1.0 - label, log_nu, ties, margin)
    return -torch.logaddexp(math.log1p(-slip) - honest, math.log(slip) - swapped)


def pair_loss(x: torch.Tensor, label: torch.Tensor, log_nu: torch.Tensor, ties: str, margin: float) -> torch.Tensor:
    """Negative log-likelihood of each pair under each member, (K, B).

    Args:
        x: (K, B) r_a − r_b.
        label: (B,) 1.0, 0.0 or 0.5.
        log_nu: (K,), used by `davidson` alone.
        ties: `soft`, `davidson`, `margin`, or `drop` (which gives ties no loss).
        margin: Of the `margin` form.
    """
    soft = label * softplus(-x) + (1.0 - label) * softplus(x)
    tie = (label == 0.5).expand_as(x)
    if ties == "davidson":
        logits = torch.stack([0.5 * x, -0.5 * x, (math.log(2.0) + log_nu).unsqueeze(1).expand_as(x)])
        own = torch.where(tie, logits[2], (label - 0.5) * x)
        return torch.logsumexp(logits, dim=0) - own
    if ties == "margin":
        return torch.where(tie, softplus(x.abs() - margin), soft)
    if ties == "drop":
        return torch.where(tie, torch.zeros_like(x), soft)
    return soft
