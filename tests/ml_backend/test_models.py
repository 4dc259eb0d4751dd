"""Which model is in use, and when another round pays."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ml_maker import features, pairs_of, version
from preference_maker import put_preferences
from typer.testing import CliRunner

from ml_backend.loop import train as stages
from ml_backend.loop.models import promote, roll_back, why_worse
from ml_backend.validation.learning_curve import no_longer_pays
from preference.errors import NotReady
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
    with pytest.raises(NotReady, match=r"no model 'rm-0009'"):
        promote(ws, "rm-0009")
    ws.store.put_model_version(version(1))
    with pytest.raises(NotReady, match="no model to roll back to"):
        roll_back(ws)


def test_asking_goes_on_while_the_curve_rises_and_stops_where_it_is_flat():
    sizes = (100, 150, 200, 300)
    rising = [version(i, n, 0.95 - 3 / n**0.5) for i, n in enumerate(sizes, 1)]
    flat = [version(i, n, 0.9) for i, n in enumerate(sizes, 1)]
    assert no_longer_pays(rising, 2000) == ""
    assert "one more point would take about" in no_longer_pays(rising, 10)
    assert "300 pairs, accuracy 0.90" in no_longer_pays(flat, 2000)
    assert no_longer_pays(flat, 0) == ""
    assert no_longer_pays(flat[:3], 2000) == ""
    assert no_longer_pays([replace(m, preferences=100 + i) for i, m in enumerate(flat)], 2000) == ""
