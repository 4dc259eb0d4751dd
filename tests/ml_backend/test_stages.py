"""Features are made once, a model exists only when it is whole, and what was asked is not proposed again."""

import json
from dataclasses import replace

import numpy as np
import pytest
from preference_maker import put_preferences

from importer.pool.quality import quartiles, score
from ml_backend.loop import models, queue_order, rounds, validate
from ml_backend.loop import train as stages
from ml_backend.loop.features import encode_pool, encoder_settings
from ml_backend.loop.rounds import run_round
from ml_backend.reward.encoder import load
from ml_backend.reward.encoder_weights import resolve_weights
from ml_backend.reward.features import read_features
from preference.errors import ConfigError, DataError, NotReady
from preference.records import Batch


@pytest.fixture
def ws(labelled_pool):
    return labelled_pool


def test_a_dry_run_of_a_round_before_the_first_model_trains_none(ws):
    with pytest.raises(NotReady, match="no reward model"):
        run_round(ws, dry_run=True)
    assert ws.store.model_versions() == []


def test_training_twice_trains_once(ws):
    first = stages.train(ws)
    assert stages.train(ws) == first
    assert first.version == "rm-0001"
    assert (first.preferences, first.weights) == (20, "none")
    folder = ws.root / first.path
    assert {path.name for path in folder.iterdir()} == {
        "model.pt", "split.json", "training.json", "validation.json", "rewards.csv"
    }  # fmt: skip
    split = json.loads((folder / "split.json").read_text())
    assert sorted(pair_id for part in split.values() for pair_id in part) == sorted(f"p{i}" for i in range(20))


def test_a_training_that_is_killed_leaves_no_half_model(ws, monkeypatch):
    from ml_backend.reward.model import RewardModel

    def killed(self, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RewardModel, "save", killed)
        stages.train(ws)
    assert list(ws.models.iterdir()) == []
    assert ws.store.model_versions() == []
    assert stages.train(ws).version == "rm-0001"


def test_a_killed_training_goes_on_from_its_checkpoint_and_leaves_none_behind(ws, monkeypatch):
    from ml_backend.reward import train

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Trained, "__init__", killed)
        stages.train(ws)
    assert len(list(ws.checkpoints.iterdir())) == 1
    record = stages.train(ws)
    assert list(ws.checkpoints.iterdir()) == []
    ws.store.close()
    curves = json.loads((ws.root / record.path / "training.json").read_text())["curves"]
    assert len(curves["train_loss"]) == 5


def test_tensorboard_reads_the_curves(ws):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = stages.train(ws)
    events = EventAccumulator(str(ws.curves / record.version)).Reload()
    told = json.loads((ws.root / record.path / "training.json").read_text())["curves"]["train_loss"]
    assert [event.value for event in events.Scalars("train_loss")] == pytest.approx(told)
    assert [event.step for event in events.Scalars("train_loss")] == [1, 2, 3, 4, 5]


def test_other_encoder_weights_under_the_same_name_make_another_model(ws, monkeypatch):
    """`imagenet` where they could not be had, and later where they can."""

    def other(reward):
        return replace(encoder_settings(reward), digest="none of before")

    stages.train(ws)
    monkeypatch.setattr("ml_backend.loop.spec.encoder_settings", other)
    with pytest.raises(DataError, match=r"model\.pt does not match this configuration.*none of before"):
        models.score_pool(ws)
    monkeypatch.setattr(stages, "encoder_settings", other)
    assert stages.train(ws).version == "rm-0002"


def test_a_model_scores_by_its_own_settings_whatever_the_file_says_now(ws):
    stages.train(ws)
    before = models.score_pool(ws).members
    ws.config.reward.sample_fps, ws.config.reward.encoder = 1.0, "resnet18"
    assert np.array_equal(models.score_pool(ws).members, before)


def test_single_answers_are_fitted_where_reliability_is_learned(ws):
    from preference.records import Annotator, Assignment, Judgment

    ws.config.reward.reliability = "crowd_bt"
    pairs = ws.store.pairs()
    assignments = [
        Assignment(f"{name}-{p.pair_id}", p.pair_id, name, "production-001", i, "A")
        for name in ("amy", "bob")
        for i, p in enumerate(pairs)
    ]
    ws.store.put_annotators([Annotator(name, f"{name}@example.org") for name in ("amy", "bob")])
    ws.store.put_pairs(Batch("production-001", "production"), pairs, assignments)
    ws.store.put_judgments([Judgment(a.assignment_id, a.annotator_id, a.pair_id, "A", 3, 900) for a in assignments])
    record = stages.train(ws)
    told = json.loads((ws.root / record.path / "training.json").read_text())
    assert set(told["reliability"]) == {"amy", "bob"}


def with_quartiles(ws, sign):
    """The pool ranked by how often people preferred each trajectory, or the other way round."""
    wins = dict.fromkeys((t.trajectory_id for t in ws.store.trajectories()), 0.0)
    for p in ws.store.labelled():
        wins[p.trajectory_a_id] += sign * p.preference
        wins[p.trajectory_b_id] += sign * (1.0 - p.preference)
    place = quartiles(np.array(list(wins.values())))
    known = {t.trajectory_id: t for t in ws.store.trajectories()}
    ws.store.put_trajectories([replace(known[name], quartile=int(q)) for name, q in zip(wins, place, strict=True)])


def test_a_model_says_what_it_learned_from_the_pools_quality_and_other_quartiles_make_another_model(ws):
    def weak(record):
        return json.loads((ws.root / record.path / "validation.json").read_text())["weak_pairs"]

    with_quartiles(ws, 1)
    first = stages.train(ws)
    assert weak(first)["pairs"] > 0 and weak(first)["labels"] == 10 and weak(first)["contradicted"] < 0.5
    with_quartiles(ws, -1)
    second = stages.train(ws)
    assert second.version != first.version and weak(second) == {}, "answers contradict it"
    ws.config.reward.quality_prior = False
    third = stages.train(ws)
    with_quartiles(ws, 1)
    assert stages.train(ws).version == third.version and weak(third) == {}


def test_a_model_says_that_progress_was_learned_from_the_success_in_roboprefs_own_quality(ws):
    def says(**changes):
        ws.config.reward = ws.config.reward.model_copy(update=changes)
        return json.loads((ws.root / stages.train(ws).path / "validation.json").read_text())["success_counts"]

    def put(success, own=None):
        made = [replace(t, success=success) for t in ws.store.trajectories()]
        values = score(made) if own is None else own
        ranked = zip(made, values, quartiles(values), strict=True)
        ws.store.put_trajectories([replace(t, quality=float(v), quartile=int(q)) for t, v, q in ranked])

    put(True)
    assert says()
    assert not says(progress_prior=False)
    put(True, own=np.arange(8))
    assert not says(progress_prior=True), "a quality of the user's own"
    put(None)
    assert not says()


def test_a_learning_curve_is_fitted_as_its_model_was_whatever_the_file_says_now(ws, monkeypatch):
    seen = []

    def fitted(features, pairs, spec, reward, splits, seeds, known, **_):
        seen.append((pairs.quartiles is not None, reward.quality_prior))
        return [np.ones(len(split.test)) for split in splits]

    monkeypatch.setattr(validate, "fit_folds", fitted)
    with_quartiles(ws, 1)
    for then in (True, False):
        ws.config.reward.quality_prior = then
        record = stages.train(ws)
        ws.config.reward.quality_prior = not then
        validate.validate_model(ws, record.version)
        assert set(seen) == {(then, then)}
        seen.clear()
    ws.config.reward.quality_prior = True
    file = ws.root / record.path / "training.json"
    told = json.loads(file.read_text())
    del told["reward"]["quality_prior"]
    file.write_text(json.dumps(told))
    validate.validate_model(ws, record.version)
    assert set(seen) == {(False, False)}, "before there was a prior, no model learned from one"


def test_quartiles_make_no_other_model_where_nothing_learns_from_them(ws):
    def key(**changes):
        return stages.fingerprint(ws, ws.store.labelled(), "", ws.config.reward.model_copy(update=changes))

    ways = {"network": {}, "linear": {"parts": ["linear"]}, "off": {"quality_prior": False}}
    with_quartiles(ws, 1)
    before = {name: key(**changes) for name, changes in ways.items()}
    with_quartiles(ws, -1)
    after = {name: key(**changes) for name, changes in ways.items()}
    assert [name for name in ways if before[name] != after[name]] == ["network"]


def test_a_pair_that_was_asked_twice_is_in_one_split():
    from ml_backend.reward.dataset import pair_keys
    from preference.records import Preference

    asked = [Preference(i, a, b, 1.0, 3.0, 2, 1.0, [], "unanimous") for i, a, b in (("p", "x", "y"), ("q", "y", "x"))]
    assert len(set(pair_keys(asked))) == 1


def test_new_labels_make_a_new_version_that_takes_over(ws):
    stages.train(ws)
    first, second, *others = ws.store.preferences()
    put_preferences(ws, [first, replace(second, preference=1.0 - second.preference), *others])
    assert stages.train(ws).version == "rm-0002"
    assert [model.active for model in ws.store.model_versions()] == [False, True]


def test_what_was_asked_is_not_proposed_again(ws):
    stages.train(ws)
    asked = {frozenset((p.trajectory_a_id, p.trajectory_b_id)) for p in ws.store.pairs()}
    chosen = rounds.rank(ws, 5)
    assert chosen
    assert not {frozenset(choice.trajectories) for choice in chosen} & asked
    replayed = rounds.rank(ws, 5, again=True)
    assert replayed
    assert {frozenset(choice.trajectories) for choice in replayed} <= asked


def test_rewards_of_the_newest_model_are_read_back_and_a_broken_file_is_named(ws):
    assert queue_order.rewards_in_use(ws) == {}
    record = stages.train(ws)
    rewards = queue_order.rewards_in_use(ws)
    scores = models.score_pool(ws)
    assert np.allclose([rewards[name] for name in scores.trajectory_ids], scores.rewards)
    (ws.root / record.path / "rewards.csv").write_text("trajectory_id,reward\nx,not-a-number\n")
    with pytest.raises(DataError, match=r"rewards\.csv"):
        queue_order.rewards_in_use(ws)


def test_too_few_labels_are_said_before_anything_is_encoded(ws):
    put_preferences(ws, ws.store.preferences()[:1])
    with pytest.raises(NotReady, match="at least 10"):
        stages.train(ws)
    assert not ws.features.exists()


def test_features_are_made_once_and_a_truncated_file_anew(ws):
    trajectories = ws.store.trajectories()
    assert encode_pool(ws, trajectories).encoded == 8
    store = encode_pool(ws, trajectories)
    assert store.encoded == 0
    path = store.paths[trajectories[0].trajectory_id]
    whole = read_features(path).frames.copy()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError):
        read_features(path)
    assert encode_pool(ws, trajectories).encoded == 1
    assert np.array_equal(read_features(path).frames, whole)


def test_a_trajectory_that_cannot_be_read_is_left_out_and_named(ws):
    trajectories = ws.store.trajectories()
    broken = replace(trajectories[0], episode_index=99, trajectory_id="tiny-000099")
    store = encode_pool(ws, [broken, *trajectories[1:]])
    assert len(store) == 7
    assert "99" in store.failures["tiny-000099"].reason


def test_a_random_encoder_is_the_same_on_every_call():
    frame = np.random.default_rng(0).integers(0, 255, (2, 60, 80, 3), dtype=np.uint8)
    settings = resolve_weights("resnet10t", "none")
    assert np.array_equal(load(settings).encode(frame), load(settings).encode(frame))


def test_without_imagenet_weights_the_run_goes_on_and_says_so(monkeypatch):
    from ml_backend.reward import encoder_weights

    def away(_):
        raise encoder_weights.Unreachable("no network reaches their host")

    monkeypatch.setattr(encoder_weights, "pretrained_file", away)
    settings = resolve_weights("resnet18", "imagenet")
    assert settings.weights == "none"
    assert "are unavailable" in settings.note


def test_an_unknown_encoder_is_named_with_its_neighbours():
    with pytest.raises(ConfigError, match="resnet"):
        resolve_weights("resnet999", "none")
    with pytest.raises(ConfigError, match="file not found"):
        resolve_weights("resnet18", "nowhere.safetensors")


def test_labels_too_few_for_the_network_train_the_linear_part_and_a_person_is_told(ws, capsys):
    ws.config.reward.parts = ["linear", "kernel", "network"]
    record = stages.train(ws)
    told = "labels without ties to train on: the linear part alone is fitted"
    assert told in capsys.readouterr().err
    settings = json.loads((ws.root / record.path / "training.json").read_text())
    assert told in settings["note"] and settings["weights"] == {"simple": 1.0, "network": 0.0}
    assert len(rounds.rank(ws, 3)) == 3
