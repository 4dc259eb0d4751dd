"""The posterior's covariance is the inverse of the objective's curvature, and labels make it smaller."""

import numpy as np

from ml_backend.ranking.utility import covariance, variance
from preference.bradley_terry import soft_loss

RNG = np.random.default_rng(0)
PHI = RNG.normal(0, 1, (30, 4))
THETA = RNG.normal(0, 1, 4)
REWARDS = PHI @ THETA
A, B = RNG.integers(30, size=(2, 25))
LABEL = RNG.choice([0.0, 0.5, 1.0], 25)


def test_the_covariance_is_the_inverse_hessian_by_finite_differences():
    prior = np.linalg.inv(covariance(PHI, REWARDS, np.array([], int), np.array([], int)))

    def objective(theta):
        x = (PHI[A] - PHI[B]) @ theta
        return soft_loss(x, LABEL)[0].sum() + 0.5 * theta @ prior @ theta

    h, eye = 1e-4, np.eye(4)
    hessian = np.array(
        [
            [
                sum(s * t * objective(THETA + h * (s * eye[i] + t * eye[j])) for s in (1, -1) for t in (1, -1))
                / (4 * h * h)
                for j in range(4)
            ]
            for i in range(4)
        ]
    )
    assert np.allclose(np.linalg.inv(hessian), covariance(PHI, REWARDS, A, B), rtol=1e-3, atol=1e-5)


def test_a_label_makes_no_pair_less_certain_and_its_own_most_certain():
    before = covariance(PHI, REWARDS, A[:20], B[:20])
    after = covariance(PHI, REWARDS, A[:21], B[:21])
    difference = PHI[A] - PHI[B]
    ratio = variance(after, difference) / np.maximum(variance(before, difference), 1e-12)
    assert (ratio < 1 + 1e-9).all()
    assert ratio[20] == ratio[np.abs(difference).sum(1) > 0].min()
