"""The benchmark of the reward model goes on where it was stopped, and says how unsure its figures are."""

import math
import types
from typing import ClassVar

import pytest
import reward


class Bench:
    """Counts what is measured."""

    measured: ClassVar[list[int]] = []
    ws = types.SimpleNamespace(store=types.SimpleNamespace(close=lambda: None))

    def __init__(self, *given):
        pass

    def measure(self, count, seed):
        if seed in self.measured:
            raise KeyboardInterrupt
        self.measured.append(seed)
        return {"ours": (0.9 + seed / 100, 0.95), "floor": (0.5, 0.0)}


def test_a_run_that_was_killed_goes_on_with_the_next_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(reward, "Bench", Bench)
    monkeypatch.setattr(Bench, "measured", [1])
    with pytest.raises(KeyboardInterrupt):
        reward.run(tmp_path, "push-v3", "resnet18", None, False, 100, 2)
    Bench.measured.clear()
    found = reward.run(tmp_path, "push-v3", "resnet18", None, False, 100, 2)
    assert Bench.measured == [1]
    assert found == {"ours": [(0.9, 0.95), (0.91, 0.95)], "floor": [(0.5, 0.0), (0.5, 0.0)]}
    reward.run(tmp_path, "push-v3", "vit_small", None, False, 100, 1)
    assert Bench.measured == [1, 0], "another encoder's figures are its own"
    Bench.measured.clear()
    reward.run(tmp_path, "hammer-v3", "vit_small", None, False, 100, 1)
    assert Bench.measured == [0], "and so are another task's"


def test_errors_are_over_seeds():
    assert reward.mean_error([0.8, 0.9]) == pytest.approx((0.85, 0.05))
    assert math.isnan(reward.mean_error([0.8])[1])


def test_one_seed_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["reward.py", "--seeds", "1"])
    with pytest.raises(SystemExit) as end:
        reward.main()
    assert end.value.code == 2 and "two at least" in capsys.readouterr().err
