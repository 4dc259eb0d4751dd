"""What a pair is worth: the members' differences (K, C) in, one number per pair out.

| rule | utility | source |
| --- | --- | --- |
| `closest` | 1 − |r_a − r_b| / w, within w = 0.5 sd | the protocol |
| `disagreement` | sd over members of P(a ≻ b) | Christiano et al. 2017 |
| `bald` | H(mean p) − mean H(p) over the outcomes | Houlsby et al. 2011 |

The outcomes are two, or with Davidson's model (1970) three, a tie being one of them.
"""

from __future__ import annotations

import numpy as np

from preference.bradley_terry import sigmoid


def outcomes(x: np.ndarray, nu: np.ndarray | None) -> np.ndarray:
    """(2 or 3, K, C) each member's probabilities of A, B and, with Davidson's ν, a tie."""
    if nu is None:
        p = sigmoid(x)
        return np.stack([p, 1.0 - p])
    logits = np.stack([0.5 * x, -0.5 * x, np.broadcast_to(np.log(2.0 * nu)[:, None], x.shape)])
    p = np.exp(logits - logits.max(axis=0))
    return p / p.sum(axis=0)


def disagreement(x: np.ndarray, nu: np.ndarray | None) -> np.ndarray:
    """(C,) how differently the members see who wins."""
    return outcomes(x, nu)[0].std(axis=0)


def mutual_information(x: np.ndarray, nu: np.ndarray | None) -> np.ndarray:
    """(C,) nats that an answer is expected to tell about which member is right."""
    p = outcomes(x, nu)
    return _entropy(p.mean(axis=1)) - _entropy(p).mean(axis=0)


def closeness(x: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(C,) 1 for equal mean rewards, 0 at `width` (C,) apart, below 0 beyond."""
    return 1.0 - np.abs(x.mean(axis=0)) / width


def _entropy(p: np.ndarray) -> np.ndarray:
    """In nats, over the first axis."""
    q = np.clip(p, 1e-12, 1.0)
    return -(q * np.log(q)).sum(axis=0)
