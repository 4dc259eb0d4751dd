"""Which model is in use, and when another round pays."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ml_maker import features, pairs_of, version
from preference_maker import put_preferences
from typer.testing import CliRunner

from ml_backend.loop import train as stages
from ml_backend.loop.models import promote, promotion_pairs, roll_back, why_worse
from ml_backend.reward.dataset import Pairs, Split
from ml_backend.validation.learning_curve import outlook, why_stop
from preference.artifacts import write_json
from preference.config import Active
from preference.errors import NotReady, UserError
from robopref.cli import app


@pytest.fixture
def ws(labelled_pool):
    return labelled_pool


def test_a_model_that_is_much_worse_does_not_take_over_and_chance_decides_nothing():
    _, truth = features(60)
    pairs = pairs_of(truth, count=100)
    ids = [f"t{i}" for i in range(60)]
    good = dict(zip(ids, truth, strict=True))
    noise = np.random.default_rng(0).normal(size=60)
    assert "loses" in why_worse(noise, good, ids, pairs)
    assert why_worse(truth, dict(zip(ids, noise, strict=True)), ids, pairs) == ""
    assert why_worse(truth + 0.02 * noise, good, ids, pairs) == ""
    assert why_worse(noise, {}, ids, pairs) == ""
    some = {name: good[name] for name in ids[:50]}
    assert "loses" in why_worse(noise, some, ids, pairs), "an old model that lacks what is new"


@pytest.mark.parametrize("better_on", ["test", "validation"])
def test_validation_pairs_decide_which_model_is_used_and_test_pairs_only_report(ws, better_on):
    """Thirty pairs of trajectories of their own; the new model is right where the one in use is wrong."""
    rows, names = np.arange(30), [f"t{i}" for i in range(60)]
    pair_ids = tuple(f"p{i}" for i in rows)
    pairs = Pairs(pair_ids, 2 * rows, 2 * rows + 1, np.ones(30), np.ones(30))
    split = Split(train=rows[:0], validation=rows[:15], test=rows[15:])
    ws.store.put_model_version(version(1))
    write_json(ws.root / version(1).path / "split.json", {"validation": pair_ids[:12], "test": pair_ids[15:]})
    new, before = np.zeros(60), np.zeros(60)
    for part in ("test", "validation"):
        right, wrong = (new, before) if part == better_on else (before, new)
        right[pairs.a[getattr(split, part)]], wrong[pairs.b[getattr(split, part)]] = 1.0, 1.0
    shared = promotion_pairs(ws, pairs, split)
    why = why_worse(new, dict(zip(names, before, strict=True)), names, shared)
    assert shared.pair_ids == pair_ids[:12], "those of both models"
    assert why == ("on 12 validation pairs it loses 12 that the model in use gets right, and wins 0"
                   if better_on == "test" else "")  # fmt: skip
    (ws.root / version(1).path / "split.json").unlink()
    assert len(promotion_pairs(ws, pairs, split)) == 0


def test_a_worse_model_is_kept_back_and_stays_so_when_trained_again(ws, monkeypatch):
    first = stages.train(ws)
    put_preferences(ws, ws.store.preferences()[:-1])
    monkeypatch.setattr("ml_backend.loop.train.why_worse", lambda *_: "it loses everything")
    second = stages.train(ws)
    assert not second.active
    assert ws.store.active_model().version == first.version
    assert stages.train(ws).version == second.version
    assert ws.store.active_model().version == first.version
    assert promote(ws, second.version).active
    assert ws.store.active_model().version == second.version
    assert roll_back(ws).version == first.version


def test_models_are_listed_promoted_and_rolled_back(ws):
    for number in (1, 2, 3):
        ws.store.put_model_version(version(number))
        (ws.root / version(number).path).mkdir(parents=True)
        (ws.root / version(number).path / "model.pt").touch()
    ws.store.put_model_version(version(4, active=False, metrics={"kept_back": "it is worse"}))
    config = ["-c", str(ws.root.parent / "robopref.toml")]
    run = CliRunner()
    listed = json.loads(run.invoke(app, ["models", *config, "--json"]).stdout)["models"]
    assert [(m["version"], m["active"]) for m in listed] == [
        ("rm-0001", False), ("rm-0002", False), ("rm-0003", True), ("rm-0004", False)
    ]  # fmt: skip
    shown = run.invoke(app, ["models", *config], env={"COLUMNS": "200"}).output
    assert "resnet18" in shown and "(none)" in shown
    gone = run.invoke(app, ["models", "promote", "rm-0004", *config])
    assert gone.exit_code != 0
    (ws.root / version(4).path).mkdir()
    (ws.root / version(4).path / "model.pt").touch()
    assert run.invoke(app, ["models", "promote", "rm-0004", *config]).exit_code == 0
    assert ws.store.active_model().version == "rm-0004"
    assert roll_back(ws).version == "rm-0003"
    assert roll_back(ws).version == "rm-0002"
    with pytest.raises(UserError, match=r"no model 'rm-0009'"):
        promote(ws, "rm-0009")
    ws.store.put_model_version(version(1))
    with pytest.raises(NotReady, match="no model to roll back to"):
        roll_back(ws)


def course(accuracy, sizes=range(160, 4000, 160), tested=400, target=0.75):
    """Models whose accuracy on pairs that no rule chose is `accuracy(labels)`."""
    found = []
    for number, size in enumerate(sizes, 1):
        value = accuracy(size)
        own = {"value": value, "low": value - 0.04, "high": value + 0.04, "pairs": tested}
        found.append(replace(version(number, size, value), metrics={"not_chosen": own, "target": target}))
    return found


def test_asking_goes_on_while_more_labels_may_help_and_stops_where_they_cannot():
    rising, flat = course(lambda n: 0.95 - 3 / n**0.5), course(lambda n: 0.9)
    noisy = course(lambda n: 0.9 + 0.03 * (-1) ** (n // 160), tested=60)
    assert why_stop(rising[:12], Active()) == ""
    said = why_stop(flat, Active())
    assert said.startswith("the next 50 pairs are expected to bring 0.0") and "(95 % interval" in said
    assert "accuracy is 0.90 (95 % interval 0.86 to 0.94), above the target of 0.75" in said
    assert why_stop(flat[:4], Active()) == "" == why_stop(noisy[:6], Active()), "too little is known"
    assert why_stop(flat, Active(most_per_point=0)) == ""
    assert why_stop(flat[:3], Active()) == "" == why_stop([], Active())
    chosen = [replace(m, metrics={"cross_validated": m.metrics["not_chosen"]}) for m in flat]
    assert why_stop(chosen, Active()) != ""


def test_asking_stops_at_the_budget_and_says_whether_the_target_is_reached():
    low = course(lambda n: 0.6)
    for accuracy, words in ((0.6, "below the target of 0.75: more of the same"), (0.76, "may or may not be reached")):
        said = why_stop(course(lambda n, accuracy=accuracy: accuracy)[:2], Active(budget=300))
        assert "320 pairs have labels, and active.budget is 300" in said and words in said
    assert why_stop(low[:2], Active(budget=321)) == ""


def test_the_expected_gain_is_that_of_the_curve():
    def curve(n):
        return 0.9 - 0.6 / n**0.5

    found = outlook([(n, curve(n), 10**6) for n in range(160, 2000, 40)], Active())
    assert found.gain == pytest.approx(curve(2010) - curve(1960), rel=0.01)
    assert found.low < found.gain < found.high
