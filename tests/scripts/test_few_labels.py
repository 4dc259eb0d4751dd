"""The benchmark of few labels asks the same pairs however many labels it is run with."""

import sys

import few_labels
import numpy as np
import pytest


def test_more_pairs_leave_the_first_ones_and_repeat_none():
    first = np.array([[0, 1], [2, 1]])
    found = few_labels.with_more(first, np.array([[1, 0], [3, 1], [1, 2], [2, 0]]))
    assert found.tolist() == [[0, 1], [2, 1], [3, 1], [2, 0]]


@pytest.mark.parametrize("count", [few_labels.COUNTS[0] - 1, few_labels.MOST + 1])
def test_numbers_of_labels_that_cannot_be_had_are_refused(count, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["few_labels.py", "--folder", str(tmp_path), "--labels", "100", str(count)])
    with pytest.raises(SystemExit) as end:
        few_labels.main()
    assert end.value.code == 2
    assert f"--labels: from {few_labels.COUNTS[0]} to {few_labels.MOST}" in capsys.readouterr().err
