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
    """`pair_loss` of people who press a wrong key with probability `slip`, each wrong one as likely as the other.

    With q the probability of an answer without slips, it is (1 − slip) q + slip (1 − q) of two answers, A and B, and
    (1 − slip) q + slip/2 (1 − q) of Davidson's three. A soft tie is half a vote for each side, and both halves may be
    slips. So no answer on an obvious pair, a wrong "equal" included, pulls for ever (Christiano et al. 2017 assume
    the same of 10 % of answers).
    """
    if slip == 0.0:
        return pair_loss(x, label, log_nu, ties, margin)
    others = 2 if ties == "davidson" else 1

    def mixed(answer: torch.Tensor) -> torch.Tensor:
        honest = -pair_loss(x, answer, log_nu, ties, margin)
        kept = math.log1p(-slip * (1.0 + 1.0 / others))
        return -torch.logaddexp(kept + honest, torch.full_like(x, math.log(slip / others)))

    if ties == "soft":
        won, lost = mixed(torch.ones_like(label)), mixed(torch.zeros_like(label))
        return label * won + (1.0 - label) * lost
    return torch.where((label == 0.5) & (ties == "drop"), torch.zeros_like(x), mixed(label))


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
