"""The accuracy of the audit arm counts pairs that no rule chose, ties left out, with an honest interval."""

import numpy as np
import pytest

from ml_backend.validation.accuracy import audited, share


def test_only_pairs_that_no_rule_chose_count():
    differences = np.array([1.0, -1.0, 1.0, 1.0, np.nan, 1.0])
    labels = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.5])
    found = audited(differences, labels, ["uniform", "d_optimal", "", "uniform", "uniform", "uniform"])
    assert (found["audit"]["value"], found["audit"]["pairs"]) == (1.0, 2)
    assert (found["not_chosen"]["value"], found["not_chosen"]["pairs"]) == (pytest.approx(2 / 3), 3)


@pytest.mark.parametrize(("right", "of"), [(5, 5), (0, 4), (37, 50)])
def test_the_interval_is_wilsons(right, of):
    """By his formula: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)."""
    z, p = 1.959964, right / of
    middle, half = p + z * z / (2 * of), z * np.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    expected = [(middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)]
    hits = np.arange(of) < right
    assert [share(hits)["low"], share(hits)["high"]] == pytest.approx(expected, abs=1e-6)


def test_without_a_round_there_is_no_audit():
    found = audited(np.ones(3), np.ones(3), ["", "", ""])
    assert found["audit"]["pairs"] == 0
    assert np.isnan(found["audit"]["value"])
