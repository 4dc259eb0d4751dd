"""`robopref validate`: calibration and learning curve by hand, the verdict, and the stage on a real pool."""

import json
import math
import re

import numpy as np
import pytest
from axe_maker import SCREENS, on_each_screen, too_wide, violations
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.loop.train import train
from ml_backend.loop.validate import page_of, validate_model
from ml_backend.reward.dataset import pair_folds
from ml_backend.validation.accuracy import by_task, ties
from ml_backend.validation.learning_curve import fit, learning_curve
from ml_backend.validation.temperature import (
    calibrated,
    calibration,
    temperature,
    temperature_and_slip,
    temperatures,
)
from ml_backend.validation.verdict import check, verdict_of
from preference.config import Reward
from preference.errors import DataError, NotReady, UserError
from preference.formats import figure
from robopref.summary import validation


@pytest.fixture
def ws(labelled_pool):
    return labelled_pool


def test_probabilities_that_are_met_are_calibrated_and_boasts_are_not():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, 20_000)
    labels = (rng.random(len(x)) < 1 / (1 + np.exp(-x))).astype(float)
    assert calibration(x, labels)["error"] < 0.02
    assert calibration(10 * x, labels)["error"] > 0.1
    assert sum(b["pairs"] for b in calibration(x, labels)["bins"]) == len(x)


def test_how_far_off_a_calibrated_model_seems_depends_on_the_number_of_pairs():
    """It takes a thousand until a perfectly calibrated one stays below 0.05."""
    rng = np.random.default_rng(0)
    found = {n: calibration(rng.normal(0, 2, n), np.ones(n), 0.1) for n in (33, 200, 1000)}
    assert [round(found[n]["floor"], 1 if n < 100 else 2) for n in found] == [0.1, 0.07, 0.03]
    assert found[33]["by_chance"] > 0.15 > found[200]["by_chance"] > 0.05 > found[1000]["by_chance"]


def test_the_temperature_makes_probabilities_of_rewards_that_are_too_sure_or_too_careful():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, 1000)
    labels = (rng.random(1000) < 0.1 + 0.8 / (1 + np.exp(-x))).astype(float)
    for factor in (0.3, 1.0, 4.0):
        assert temperature(factor * x, labels, 0.1) == pytest.approx(factor, rel=0.4)
        cooled, slips = calibrated(factor * x, labels, np.full(1000, ""), pair_folds(np.arange(1000), rng), Reward())
        assert calibration(cooled, labels, slips)["error"] < 0.05
        told = temperatures(factor * x, labels, np.full(1000, ""), Reward())
        assert told.shared == pytest.approx(factor, rel=0.4) and not told.own
    assert calibration(4.0 * x, labels, 0.1)["error"] > 0.05


def test_labels_without_slips_are_not_taken_for_those_of_people_who_slip():
    """Several people and an adjudicator resolve a clear pair rightly, whatever one of them slips on."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 4, 400)
    for share in (0.0, 0.1):
        labels = (rng.random(400) < share + (1 - 2 * share) / (1 + np.exp(-x))).astype(float)
        cooled, slips = calibrated(x, labels, np.full(400, ""), pair_folds(np.arange(400), rng), Reward())
        found = calibration(cooled, labels, slips)
        assert slips == pytest.approx(share, abs=0.05) and (slips <= Reward().slip).all()
        assert found["error"] < found["by_chance"], share
        tasks = np.full(400, "")
        from_answers = temperatures(x, labels, tasks, Reward(reliability="crowd_bt"))
        assert from_answers == temperatures(x, labels, tasks, Reward()), "the labels are the same"
        if not share:
            assert calibration(x, labels, Reward().slip)["error"] > found["by_chance"], (
                "clear pairs would be at most .9"
            )


def test_a_model_that_is_too_sure_does_not_put_it_down_to_peoples_slips():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, 2000)
    labels = (rng.random(2000) < 1 / (1 + np.exp(-x))).astype(float)
    told, slip = temperature_and_slip(4 * x, labels, 0.1)
    assert told == pytest.approx(4.0, rel=0.3) and slip <= 0.1
    assert calibration(4 * x / told, labels, slip)["error"] < 0.03 < calibration(4 * x, labels, slip)["error"]
    assert temperature_and_slip(np.array([3.0, 2.0]), np.ones(2), 0.1)[1] > 0.08, "two labels say little"
    assert temperature_and_slip(x, labels, 0.0) == (temperature(x, labels, 0.0), 0.0)


def test_few_pairs_leave_the_verdict_open_and_a_wrong_probability_decides_it():
    def verdict(low, high, error=0.04, by_chance=0.07):
        figures = {
            "ranking_accuracy": {"value": 0.85, "low": low, "high": high, "pairs": 33}, "target": 0.75,
            "cross_validated": {"value": 0.8, "low": 0.7, "high": 0.9, "pairs": 60}, "spearman": 0.8,
            "ground_truth": "return", "probes": {},
            "calibration": {"error": error, "by_chance": by_chance, "floor": 0.03, "pairs": 60},
            "counterfactuals": {}, "unseen_trajectories": {"value": 0.7, "low": 0.6, "high": 0.8, "pairs": 40},
        }  # fmt: skip
        return verdict_of(check(figures))

    assert verdict(0.76, 0.95) == "Everything that was looked at is as it should be."
    assert verdict(0.72, 0.97).startswith("Not yet known: Ranking accuracy on 33 test pairs is 0.85 (0.72 to 0.97)")
    assert "probabilities are off by 0.14, above 0.07" in verdict(0.72, 0.97, error=0.14)
    assert not verdict(0.72, 0.97, error=0.14).startswith("Not yet known")
    assert "above 0.07 (on 60 pairs a calibrated model shows 0.03, and up to that by chance)" in verdict(
        0.72, 0.97, error=0.14
    )
    assert "above 0.05." in verdict(0.72, 0.97, error=0.06, by_chance=0.03), "the limit is not chance's there"


def test_with_few_labels_the_temperature_stays_near_one():
    assert 0.6 < temperature(np.array([3.0, 2.0, 4.0]), np.ones(3), 0.1) < 1.7
    tasks, folds = np.full(10, "push"), pair_folds(np.arange(10), np.random.default_rng(0))
    cooled, _ = calibrated(np.full(10, 3.0), np.ones(10), tasks, folds, Reward(ties="davidson"), ["push"])
    assert (cooled == 3.0).all(), "Davidson's ν belongs to the rewards' scale"


@given(st.lists(st.tuples(st.floats(-5, 5), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=60))
def test_which_trajectory_is_called_a_changes_no_calibration(rows):
    x, labels = (np.array(column) for column in zip(*rows, strict=True))
    one, other = calibration(x, labels), calibration(-x, 1 - labels)
    if (x != 0).all():
        assert one["error"] == pytest.approx(other["error"])
    assert 0 <= one["error"] <= 1


def test_ties_that_lie_close_together_are_known():
    x, labels = np.array([0.1, -0.2, 2.0, -3.0]), np.array([0.5, 0.5, 1.0, 0.0])
    assert ties(x, labels) == {"pairs": 2, "auc": 1.0}
    assert ties(x[::-1], labels)["auc"] == 0.0
    assert math.isnan(ties(x, np.ones(4))["auc"])


def test_a_learning_curve_finds_what_it_was_made_from():
    sizes = [50, 100, 150, 200]
    found = fit(sizes, [0.95 - 2.0 / math.sqrt(n) for n in sizes])
    assert found["limit"] == pytest.approx(0.95)
    assert found["slope"] == pytest.approx(2.0)
    more = found["more_pairs"]
    gain = 2.0 / math.sqrt(200) - 2.0 / math.sqrt(200 + more)
    assert gain == pytest.approx(0.01, abs=5e-4)


def test_a_flat_learning_curve_promises_nothing():
    assert fit([50, 100, 200], [0.8, 0.8, 0.8])["more_pairs"] is None
    assert fit([50, 100, 200], [0.9, 0.85, 0.8])["more_pairs"] is None


def test_a_learning_curve_trains_on_growing_parts_of_the_training_pairs():
    def accuracies(parts, numbers):
        assert numbers == [0, 1, 2] * 3 + [0]
        for rows in parts:
            assert len(set(rows)) == len(rows)
            assert set(rows) <= set(range(100, 180))
        return [0.5 + len(rows) / 1000 for rows in parts]

    found = learning_curve(np.arange(100, 180), accuracies, np.random.default_rng(0))
    assert [point["accuracy"] for point in found["points"]] == [0.52, 0.54, 0.56, 0.58]
    assert [point["pairs"] for point in found["points"]] == [20, 40, 60, 80]


def test_a_figure_that_rounds_to_nothing_has_no_sign():
    assert [figure(value) for value in (-0.001, 0.001, -0.01, math.nan)] == ["0.00", "0.00", "−0.01", "–"]


def figures(**changes):
    quiet = {"partial_correlation": 0.1, "fires": False, "threshold": 0.3}
    whole = {
        "ranking_accuracy": {"value": 0.8, "low": 0.76, "high": 0.9, "pairs": 40}, "target": 0.75, "spearman": 0.7,
        "ground_truth": "quality score", "probes": {"length": quiet},
        "counterfactuals": {"cut": {"mean_change_sd": -0.2, "fires": False}},
    }  # fmt: skip
    return whole | changes


def test_the_verdict_says_what_is_missed():
    assert all(one.reached for one in check(figures()))
    unknown = check(figures(spearman=None))
    assert [one.words for one in unknown if not one.reached] == [
        "Spearman's correlation with the quality score is unknown, below 0.60."
    ]
    fires = check(figures(counterfactuals={"cut": {"mean_change_sd": 0.9, "fires": True}}))
    (missed,) = [one for one in fires if not one.reached]
    assert "With the last third cut off the reward changes by 0.90" in missed.words
    assert "can be gamed" in missed.words


def test_a_model_that_learned_from_the_quality_is_not_silently_held_against_it():
    weak = {"pairs": 200, "labels": 10.0, "contradicted": 0.2}
    words = check(figures(weak_pairs=weak))[1].words
    assert words.startswith("Spearman's correlation with the quality score, from which it also learned a little")
    for other in (figures(weak_pairs={}), figures(weak_pairs=weak, ground_truth="simulator's return")):
        assert "learned" not in check(other)[1].words


def test_a_model_whose_progress_was_learned_from_the_success_in_the_quality_says_so():
    weak = {"pairs": 200, "labels": 10.0, "contradicted": 0.2}
    words = check(figures(success_counts=True))[1].words
    assert words == (
        "Spearman's correlation with the quality score, a part of which, success, taught it progress "
        "(reward.progress_prior), is 0.70, at least 0.60."
    )
    both = check(figures(weak_pairs=weak, success_counts=True))[1].words
    assert ", from which it also learned a little (reward.quality_prior) and a part of which, success," in both
    for other in (figures(success_counts=False), figures(success_counts=True, ground_truth="simulator's return")):
        assert "taught" not in check(other)[1].words


def test_tiers_that_the_quality_tells_apart_are_not_silently_a_check_of_a_model_that_learned_from_it():
    def words(**changes):
        (one,) = [c for c in check(figures(tiers={"random_over_expert": 0.1}, **changes)) if "random" in c.what]
        return one.words

    weak = {"pairs": 200, "labels": 10.0, "contradicted": 0.2}
    assert words(weak_pairs=weak).endswith("from which it also learned a little (reward.quality_prior).")
    for other in ({"weak_pairs": {}}, {"weak_pairs": weak, "ground_truth": "simulator's return"}):
        assert "learned" not in words(**other)
    taught = "The two differ in quality, a part of which, success, taught it progress (reward.progress_prior)."
    assert words(success_counts=True).endswith(taught)


def test_a_pool_in_which_every_measure_is_the_same_everywhere_has_its_page(ws, monkeypatch):
    """As length is where all episodes are recorded for as long."""
    record = train(ws)
    for module in ("accuracy", "probes"):
        monkeypatch.setattr(f"ml_backend.validation.{module}.measures", lambda *_, **__: {})
    monkeypatch.setattr("ml_backend.loop.validate.measures", lambda *_, **__: {})
    validate_model(ws, propose=5)
    assert json.loads((ws.root / record.path / "validation.json").read_text())["probes"] == {}
    assert "Can the reward be gamed?" in page_of(ws).read_text()

    table = ws.root / "measures.csv"
    ws.config.pool.measures = str(table)
    ids = [t.trajectory_id for t in ws.store.trajectories()]
    table.write_text("trajectory_id,visible_gripper\n" + "".join(f"{name},{i / 8}\n" for i, name in enumerate(ids)))
    validate_model(ws)
    probes = json.loads((ws.root / record.path / "validation.json").read_text())["probes"]
    assert list(probes) == ["visible_gripper"] and "visible gripper" in page_of(ws).read_text()
    wrong = "trajectory_id,seen\n" + "".join(f"{name},often\n" for name in ids)
    for text, words in (
        ("trajectory_id\n", "expected the columns trajectory_id and a measure"),
        (f"trajectory_id,seen\n{ids[0]},1\n", "7 trajectories of the model are not in it"),
        (wrong, "seen: expected a number"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=words):
            validate_model(ws)


def test_validating_writes_the_figures_and_one_page_that_needs_nothing_else(ws, chromium):
    with pytest.raises(NotReady, match="no reward model yet"):
        validate_model(ws)
    record = train(ws)
    found = validate_model(ws, propose=5)
    folder = ws.root / record.path
    written = json.loads((folder / "validation.json").read_text())
    assert written["trusted"] == found.trusted == all(one["reached"] for one in written["checks"])
    assert {"still_frames_added", "slowed_down", "cut"} <= set(written["counterfactuals"])
    assert len(written["learning_curve"]["points"]) == 4
    assert page_of(ws) == folder / "validation.html"
    assert validation(ws) == {
        "version": record.version, "trusted": found.trusted, "verdict": found.verdict, "page": str(page_of(ws)),
    }  # fmt: skip
    page = (folder / "validation.html").read_text()
    assert not re.search(r"<script|(src|href)=.https?:", page)
    assert page.count("<svg role") == 6
    assert record.version in page
    assert f"{100 * written['calibration']['slip']:.0f} % are taken to have the wrong label" in page
    with chromium.new_context(**SCREENS["desktop light"]) as context:
        shown = context.new_page()
        shown.goto(page_of(ws).as_uri())
        for screen in on_each_screen(shown):
            assert violations(shown) == [], screen
            assert not too_wide(shown), screen
    assert validate_model(ws, record.version).verdict == found.verdict
    with pytest.raises(UserError, match=r"no reward model 'rm-0009'\. Models: rm-0001"):
        validate_model(ws, "rm-0009")
    (folder / "split.json").write_text("{")
    with pytest.raises(DataError, match=r"split\.json is not JSON"):
        validate_model(ws)


def test_each_task_has_its_own_accuracy_calibration_and_temperature():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, 8000)
    tasks = np.repeat(["sure", "right"], 4000)
    told = x * np.repeat([4.0, 1.0], 4000)  # of the first task, the model says four times as much as it knows
    labels = (rng.random(8000) < 1 / (1 + np.exp(-x))).astype(float)
    reward, folds, apart = Reward(slip=0.0), pair_folds(np.arange(8000), rng), ["right", "sure"]
    divided = temperatures(told, labels, tasks, reward, apart)
    found = by_task(*calibrated(told, labels, tasks, folds, reward, apart), labels, tasks, divided, rng)
    assert list(found) == ["right", "sure"] and found["sure"]["accuracy"]["pairs"] == 4000
    assert found["sure"]["temperature"] == pytest.approx(4.0, rel=0.2)
    assert found["right"]["temperature"] == pytest.approx(1.0, rel=0.2)
    together = by_task(*calibrated(told, labels, tasks, folds, reward), labels, tasks, divided, rng)
    assert together["sure"]["calibration"]["error"] > together["sure"]["calibration"]["by_chance"]
    assert found["sure"]["calibration"]["error"] < found["sure"]["calibration"]["by_chance"]
    assert found["right"]["calibration"]["error"] < found["right"]["calibration"]["by_chance"]
