"""The figures mean what they say: ceilings by hand, nothing tested on what it was trained on, probes that fire."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from ml_maker import features, pairs_of, preferences, spec, trajectories

from importer.pool.quality import quartiles
from ml_backend.reward.dataset import Quartiles, index_pairs, pair_folds, split_pairs, trajectory_folds
from ml_backend.reward.layout import Placed
from ml_backend.reward.train import train_model
from ml_backend.validation.accuracy import accuracy, fit_folds, tiers, validate
from ml_backend.validation.temperature import calibration
from preference.config import Reward
from preference.errors import DataError
from preference.records import Pair
from preference.work import HERE, Workers
from qc_reports.agreement.ceiling import noise_ceiling
from qc_reports.answers import Answered
from qc_reports.resolution.vote import resolve

REWARD = Reward(inputs=["actions", "state"], epochs=10, hidden=8, members=2)


def voted(agree, differ, label=1.0):
    """(labels, answers): pairs on which two agree, and pairs that a third decided."""

    def ballot(i, words):
        return [Answered(f"p{i}", f"h{n}", word, third=n == 2) for n, word in enumerate(words)]

    words = ["AA"] * agree + ["ABA"] * differ
    answers = [answer for i, own in enumerate(words) for answer in ballot(i, own)]
    made = [Pair(f"p{i}", "a", "b", "push", "same", "production") for i in range(len(words))]
    return resolve(made, answers), answers


def test_people_right_in_eighty_percent_leave_a_perfect_model_ninety():
    """d = 0.32 gives ρ = 0.2: two who agree are right in 16/17, a vote of two to one in 0.8, together 0.896."""
    found = noise_ceiling(*voted(680, 320), np.random.default_rng(0))
    assert found["value"] == pytest.approx(0.896, abs=0.003) and found["pairs"] == 1000
    assert 0.896 < found["high"] < 0.93
    assert noise_ceiling(*voted(20, 80), np.random.default_rng(0))["value"] == pytest.approx(0.5)
    assert math.isnan(noise_ceiling([], [], np.random.default_rng(0))["value"])


@pytest.mark.parametrize("pairs", [10, 40, 400])
def test_people_who_never_differed_are_not_said_to_never_err(pairs):
    """With n pairs on which two agree, the share d that differ has Jeffreys' posterior, Beta(½, n + ½). If 2d of the
    pairs are toss-ups, a quarter of them agrees on the wrong side: d/2 of all pairs, of 1 − d that agree."""
    found = noise_ceiling(*voted(pairs, 0), np.random.default_rng(0))
    d = scipy.stats.beta.ppf(0.975, 0.5, pairs + 0.5)
    assert found["low"] == pytest.approx(1 - 0.5 * d / (1 - d), abs=0.02)
    assert found["low"] < found["value"] <= found["high"] <= 1.0


def test_the_interval_reaches_from_equally_hard_pairs_to_toss_ups():
    """d = 0.32 as above, or 64 % toss-ups: of the 68 % that agree 16 % are wrong, and half of the others."""
    found = noise_ceiling(*voted(68_000, 32_000), np.random.default_rng(0))
    assert found["high"] == pytest.approx(0.896, abs=0.003) and found["low"] == pytest.approx(0.68, abs=0.005)


def test_the_ceiling_counts_only_the_votes_that_made_the_label():
    labels, answers = voted(680, 320)
    noise = [Answered(f"p{i}", "left out", "B") for i in range(1000)]
    again = [replace(answer, preference="B", duplicate=True) for answer in answers]
    found, same = (
        noise_ceiling(labels, own, np.random.default_rng(0)) for own in (answers, [*answers, *noise, *again])
    )
    assert found == same


def test_how_large_a_models_rewards_are_says_nothing_of_another_models_probabilities(monkeypatch):
    """Fold models whose rewards are ten times larger give the same temperature: they count in their own unit."""
    made, truth = features(30)
    labels = preferences(truth, count=80)
    pairs, split = pairs_of(truth, count=80), split_pairs([p.pair_id for p in labels], 0)
    own = spec(hidden=8, members=2)
    trained = train_model(made, pairs, split, own, REWARD, seed=0)
    found = []
    for factor in (1.0, 10.0):

        def larger(*args, factor=factor, **kwargs):
            model = train_model(*args, **kwargs)
            model.model.cool(1 / factor)
            return model

        monkeypatch.setattr("ml_backend.validation.accuracy.train_model", larger)
        figures = validate(trained, made, trajectories(truth), pairs, split, REWARD, labels, {}, seed=0)
        found.append(figures["calibration"]["temperature"])
        assert figures["calibration_on_test"]["pairs"] == len(split.test)
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize("parts", [["network"], ["linear", "network"]])
def test_no_test_pair_enters_a_temperature_and_the_figures_are_of_the_model_as_it_is_kept(parts):
    reward = REWARD.model_copy(update={"parts": parts, "epochs": 4})
    made, truth = features(30)
    kinds = ["close", "open"] * 15
    pool = [replace(t, task_type=kind) for t, kind in zip(trajectories(truth), kinds, strict=True)]
    labels = [
        p for p in preferences(truth, count=160) if (int(p.trajectory_a_id[1:]) + int(p.trajectory_b_id[1:])) % 2 == 0
    ]
    pairs = index_pairs(labels, {t.trajectory_id: i for i, t in enumerate(pool)})
    own = spec(hidden=8, members=2, task_types=("close", "open"), task_columns=True)
    placed = Placed(made, own.layout, [0] * 30, [own.layout.task(kind) for kind in kinds])
    split = split_pairs(pairs.pair_ids, 0)
    turned = replace(pairs, label=pairs.label.copy())
    turned.label[split.test] = 1.0 - turned.label[split.test]
    trained = train_model(placed, pairs, split, own, reward, seed=0)
    figures, other = (
        validate(trained, placed, pool, told, split, reward, labels, {}, seed=0) for told in (pairs, turned)
    )

    def told(found):
        by_task = {task: row["temperature"] for task, row in found["by_task"].items()}
        return found["calibration"]["temperature"], by_task

    assert told(figures) == told(other)
    shared, apart = told(figures)
    assert list(apart) == ["close", "open"]
    assert all((value != shared) == (parts == ["network"]) for value in apart.values()), "parts share one"
    trained.model.cool(shared, apart)
    rewards, _ = trained.model.score(placed)
    test = pairs.take(split.test)
    of_kept = calibration(rewards[test.a] - rewards[test.b], test.label, figures["calibration"]["slip"])
    assert figures["calibration_on_test"]["error"] == pytest.approx(of_kept["error"], abs=1e-6)


def test_an_accuracy_of_few_pairs_never_claims_certainty():
    four = accuracy(np.ones(4, bool), np.random.default_rng(0))
    assert (four["value"], four["high"], four["pairs"]) == (1.0, pytest.approx(1.0), 4)
    assert four["low"] == pytest.approx(0.5101, abs=1e-4)  # Wilson's lower limit, by hand: 4 / (4 + 1.96²)
    none = accuracy(np.zeros(4, bool), np.random.default_rng(0))
    assert (none["low"], none["high"]) == (pytest.approx(0.0), pytest.approx(0.4899, abs=1e-4))
    many = accuracy(np.arange(1000) < 800, np.random.default_rng(0))
    assert (many["low"], many["high"]) == (pytest.approx(0.775, abs=0.005), pytest.approx(0.825, abs=0.005))
    nothing = accuracy(np.zeros(0, bool), np.random.default_rng(0))
    assert math.isnan(nothing["value"])


def test_a_pair_that_was_asked_twice_is_in_one_fold():
    same = np.arange(60) % 30
    for split in pair_folds(np.arange(60), np.random.default_rng(0), same):
        assert not set(same[split.test]) & set(same[np.concatenate([split.train, split.validation])])
        assert len(split.test) == 12


def test_cross_validation_never_tests_on_a_pair_it_was_trained_on():
    tested = []
    for split in pair_folds(np.arange(83), np.random.default_rng(0)):
        assert not set(split.test) & (set(split.train) | set(split.validation))
        assert not set(split.train) & set(split.validation)
        tested.extend(split.test)
    assert sorted(tested) == list(range(83))
    some = np.arange(0, 83, 2)
    splits = pair_folds(some, np.random.default_rng(0))
    assert all(set(np.concatenate([s.train, s.validation, s.test])) == set(some) for s in splits)
    assert pair_folds(np.arange(2), np.random.default_rng(0)) == [], "of two pairs, none is left to train on"


def test_unseen_trajectories_are_unseen():
    _, truth = features()
    pairs = pairs_of(truth)
    splits = trajectory_folds(pairs, len(truth), np.random.default_rng(0))
    assert splits
    for split in splits:
        seen = {*pairs.a[split.train], *pairs.b[split.train], *pairs.a[split.validation], *pairs.b[split.validation]}
        assert not seen & {*pairs.a[split.test], *pairs.b[split.test]}


def test_folds_trained_in_processes_say_the_same_as_one_after_the_other(monkeypatch):
    made, truth = features()
    pairs = pairs_of(truth)
    splits = pair_folds(np.arange(len(pairs)), np.random.default_rng(0))[:2]
    small = REWARD.model_copy(update={"epochs": 2})
    here = fit_folds(made, pairs, spec(hidden=8, members=2), small, splits, [0, 1])
    monkeypatch.setattr("ml_backend.validation.accuracy.IN_PROCESS", 0)
    there = fit_folds(made, pairs, spec(hidden=8, members=2), small, splits, [0, 1], workers=Workers(2))
    for one, other, split in zip(here, there, splits, strict=True):
        assert one.shape == (len(split.test),)
        assert np.array_equal(one, other)


def test_folds_that_learn_from_weak_pairs_too_count_as_the_longer_trainings_that_they_are(monkeypatch):
    made, truth = features()
    pairs = pairs_of(truth)
    ranked = replace(pairs, quartiles=Quartiles(quartiles(truth), np.zeros(len(truth), int)))
    (split,) = pair_folds(np.arange(len(pairs)), np.random.default_rng(0))[:1]
    asked = []

    def here(fit, folds, *, workers, **_):
        asked.append(workers)
        return [(fold, (fold.number, np.zeros(0))) for fold in folds]

    monkeypatch.setattr("ml_backend.validation.accuracy.parallel_map", here)
    monkeypatch.setattr("ml_backend.validation.accuracy.IN_PROCESS", (len(split.train) + 1) * REWARD.epochs)
    for own in (pairs, ranked):
        fit_folds(made, own, spec(), REWARD, [split], [0], workers=Workers(2))
    assert asked == [HERE, Workers(2)]


def test_a_fold_that_cannot_be_trained_is_one_clear_message():
    made, truth = features()
    pairs = pairs_of(truth)
    splits = pair_folds(np.arange(len(pairs)), np.random.default_rng(0))[:1]
    with pytest.raises(DataError, match="expected 9 values"):
        fit_folds(made, pairs, spec(hidden=8, members=2, action_names=tuple("abcdefghi")), REWARD, splits, [0])


def test_tiers_that_stand_apart_do_not_overlap_and_alike_ones_do_by_half():
    _, truth = features(200)
    pool = trajectories(truth)
    assert tiers(truth, pool)["overlap"] == {"random over expert": 0.0}
    alike = tiers(np.random.default_rng(0).normal(size=200), pool)
    assert next(iter(alike["overlap"].values())) == pytest.approx(0.5, abs=0.1)


def test_the_figures_are_those_that_the_rewards_give_by_hand():
    """Two strata and a truth that can be learned: every figure is counted again, without our own functions."""
    made, truth = features()
    pool, answers = trajectories(truth), preferences(truth)
    pairs = pairs_of(truth)
    split = split_pairs(pairs.pair_ids, 0)
    reward = REWARD.model_copy(update={"epochs": 60, "learning_rate": 5e-3})
    trained = train_model(made, pairs, split, spec(hidden=8, members=2), reward, seed=0)
    strata = {pair_id: ("same", "distant")[i % 2] for i, pair_id in enumerate(pairs.pair_ids)}
    figures = validate(trained, made, pool, pairs, split, reward, answers, strata, seed=0)

    rewards, _ = trained.model.score(made)
    judged = [i for i in split.test if pairs.label[i] != 0.5]
    right = {i: (rewards[pairs.a[i]] > rewards[pairs.b[i]]) == (pairs.label[i] == 1.0) for i in judged}
    by_stratum = {
        stratum: [hit for i, hit in right.items() if strata[pairs.pair_ids[i]] == stratum]
        for stratum in ("same", "distant")
    }
    accuracy = figures["ranking_accuracy"]
    assert (accuracy["value"], accuracy["pairs"]) == (pytest.approx(np.mean([*right.values()])), len(judged))
    assert accuracy["low"] < accuracy["value"] <= accuracy["high"]
    assert {name: (row["value"], row["pairs"]) for name, row in figures["by_stratum"].items()} == {
        name: (pytest.approx(np.mean(hits)), len(hits)) for name, hits in by_stratum.items()
    }
    assert figures["ties_in_test"] == len(split.test) - len(judged)
    assert figures["spearman"] == pytest.approx(scipy.stats.spearmanr(rewards, truth).statistic)
    assert figures["spearman"] > 0.9 and figures["cross_validated"]["value"] > 0.8, "it can be learned"
    assert figures["cross_validated"]["pairs"] == np.count_nonzero(pairs.label != 0.5)
    assert figures["ground_truth"] == "simulator's return"
    assert figures["target"] == 0.75
    assert figures["pairs"] == {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}


def test_rewards_the_wrong_way_round_get_the_wrong_pairs_and_a_negative_correlation(monkeypatch):
    made, truth = features()
    pairs = pairs_of(truth)
    split = split_pairs(pairs.pair_ids, 0)
    trained = train_model(made, pairs, split, spec(hidden=8, members=2), REWARD, seed=0)
    score = trained.model.score
    right = validate(trained, made, trajectories(truth), pairs, split, REWARD, [], {}, seed=0)
    monkeypatch.setattr(trained.model, "score", lambda features: tuple(-value for value in score(features)))
    wrong = validate(trained, made, trajectories(truth), pairs, split, REWARD, [], {}, seed=0)
    assert wrong["spearman"] == pytest.approx(-right["spearman"])
    assert wrong["ranking_accuracy"]["value"] == pytest.approx(1 - right["ranking_accuracy"]["value"])


def test_random_over_expert_is_how_often_the_worst_beats_the_best():
    truth = np.array([3.0, 2.0, -1.0, -2.0])
    own = trajectories(truth)
    assert tiers(truth, own)["random_over_expert"] == 0.0
    assert tiers(-truth, own)["random_over_expert"] == 1.0
    assert math.isnan(tiers(truth[:2], own[:2])["random_over_expert"])
