"""The accuracy of the audit arm counts pairs that no rule chose, ties left out, with an honest interval."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ml_backend.validation.audit import audited, share


def test_only_pairs_that_no_rule_chose_count():
    differences = np.array([1.0, -1.0, 1.0, 1.0, np.nan, 1.0])
    labels = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.5])
    found = audited(differences, labels, ["uniform", "d_optimal", "", "uniform", "uniform", "uniform"])
    assert (found["audit"]["value"], found["audit"]["pairs"]) == (1.0, 2)
    assert (found["not_chosen"]["value"], found["not_chosen"]["pairs"]) == (pytest.approx(2 / 3), 3)


@pytest.mark.parametrize(("right", "of"), [(5, 5), (0, 4), (37, 50)])
def test_the_interval_is_wilsons(right, of):
    hits = np.arange(of) < right
    expected = binomtest(right, of).proportion_ci(method="wilson")
    assert (share(hits)["low"], share(hits)["high"]) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_without_a_round_there_is_no_audit():
    found = audited(np.ones(3), np.ones(3), ["", "", ""])
    assert found["audit"]["pairs"] == 0
    assert np.isnan(found["audit"]["value"])
