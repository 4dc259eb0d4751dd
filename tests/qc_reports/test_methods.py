"""Other ways to a label: Dawid-Skene with difficulty, Bradley-Terry with reliabilities, and where they differ."""

from typing import get_args

import numpy as np
import pytest
from qc_maker import draw_crowd

from preference.bradley_terry import davidson_loss
from preference.config import Config, Quality
from preference.records import LABELS, Annotator, Assignment, Batch, Judgment, Pair, Review, Trajectory
from preference.workspace import Workspace
from qc_reports import resolve as resolution
from qc_reports.agreement.coefficients import SCALE
from qc_reports.agreement.pair_model import fit_pairs
from qc_reports.agreement.vote_table import table_of
from qc_reports.annotators.flag import Kind
from qc_reports.answers import Answered, votes
from qc_reports.report.batch_report import figures
from qc_reports.resolution.methods import apply, differences, labels
from qc_reports.resolution.vote import resolve
from qc_reports.resolution.weighted_bradley_terry import PENALTY, outcomes, reliabilities, weighted_bt


def crowd(seed, pairs=60, people=5, liar=False):
    """Ballots of people who mix the answers up by confusions of their own; `liar` turns the last one's sides round."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=pairs)
    confusions = [0.75 * np.eye(3) + 0.25 * rng.dirichlet(np.ones(3), 3) for _ in range(people)]
    if liar:
        confusions[-1] = confusions[-1][:, ::-1]
    return {
        f"p{i:03d}": {f"a{k}": SCALE[rng.choice(3, p=confusions[k][t])] for k in range(people) if rng.random() < 0.8}
        for i, t in enumerate(truth)
    }, truth


def answers_of(ballots):
    return [Answered(pair, who, word) for pair, ballot in ballots.items() for who, word in ballot.items()]


def test_a_fit_that_starts_from_one_of_nearly_the_same_votes_arrives_where_a_whole_fit_does():
    ballots = draw_crowd(0, careless=0.3)[0]
    most = table_of(dict(list(ballots.items())[:-20]))
    whole, short = fit_pairs(table_of(ballots)), fit_pairs(table_of(ballots), start=fit_pairs(most))
    assert np.abs(whole.best - short.best).max() < 0.05
    assert np.abs(whole.reliability - short.reliability).max() < 0.02


def test_two_who_are_reliable_outvote_three_who_guess():
    rng = np.random.default_rng(1)
    ballots, truth = {}, []
    for i in range(150):
        right = SCALE[rng.integers(3)]
        truth.append(right)
        ballots[f"p{i:03d}"] = {f"good{k}": right for k in range(2)} | {
            f"guess{k}": SCALE[rng.integers(3)] for k in range(3)
        }
    chances = fit_pairs(table_of(ballots)).best
    found = [SCALE[k] for k in chances.argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(found, truth, strict=True)]) > 0.98


def test_who_turns_the_sides_round_is_believed_the_other_way():
    ballots, truth = crowd(4, pairs=200, liar=True)
    table = table_of(ballots)
    fitted = fit_pairs(table)
    assert fitted.reliability[4, 2] > 0.6 > 0.5 > fitted.reliability[4, 0], "swapped"
    assert np.mean(fitted.best.argmax(axis=1) == truth[[int(p[1:]) for p in table.pair_ids]]) > 0.88


def test_a_hard_pair_says_less_of_a_person_than_an_easy_one():
    easy = {f"e{i}": {f"a{k}": "A" for k in range(6)} for i in range(30)}
    hard = {f"h{i}": {f"a{k}": "AB"[(k + i) % 2] for k in range(6)} for i in range(30)}
    table = table_of(easy | hard)
    fitted = fit_pairs(table)
    shown = fitted.expected.max(axis=1)
    assert shown[table.pair < 30].min() > 0.9 > 0.7 > shown[table.pair >= 30].max()
    assert fitted.reliability[:, 0].min() > 0.85, "who differs on hard pairs is no guesser"


def test_what_is_expected_of_a_vote_does_not_know_that_vote():
    ballots = {f"p{i}": {"x": "A", "y": "A", "z": "AB"[i == 0]} for i in range(40)}
    other = ballots | {"p0": {"x": "A", "y": "A", "z": "A"}}
    first, second = (fit_pairs(table_of(b)).expected[2] for b in (ballots, other))
    assert first[0] > 0.9 and first == pytest.approx(second, abs=0.05)


def test_no_votes_and_one_annotator_are_no_trouble():
    assert fit_pairs(table_of({})).best.shape == (0, 3)
    alone = {f"p{i}": {"x": SCALE[i % 3]} for i in range(9)}
    assert list(fit_pairs(table_of(alone)).best.argmax(axis=1)) == [i % 3 for i in range(9)]
    assert reliabilities(alone) == {"x": 1.0}


def test_reliability_is_kappa_with_all_others_and_never_below_nothing():
    ballots = {f"p{i}": {"x": "AB"[i % 2], "y": "AB"[i % 2], "z": "BA"[i % 2]} for i in range(20)}
    assert reliabilities(ballots) == {"x": 0.0, "y": 0.0, "z": 0.0}, "x agrees with y and opposes z: chance"
    del ballots["p0"]["z"]
    assert reliabilities(ballots)["x"] > 0 == reliabilities(ballots)["z"]


def chain(*words):
    """Pairs of neighbours t0-t1, t1-t2, …, with one vote of x each."""
    pairs = [Pair(f"p{i}", f"t{i}", f"t{i + 1}", "push", "same", "production") for i in range(len(words))]
    return pairs, {f"p{i}": {"x": word} for i, word in enumerate(words)}


def test_the_weighted_fit_is_where_its_gradient_is_zero():
    rng = np.random.default_rng(0)
    pairs = [Pair(f"p{i}", f"t{i % 7}", f"t{(i * 3 + 1) % 7}", "push", "same", "production") for i in range(30)
             if i % 7 != (i * 3 + 1) % 7]  # fmt: skip
    ballots = {p.pair_id: {"x": SCALE[rng.integers(3)], "y": SCALE[rng.integers(3)]} for p in pairs}
    weights = {"x": 1.0, "y": 0.3}
    chances = weighted_bt(table_of(ballots), pairs, weights)
    assert chances.sum(axis=1) == pytest.approx(1)
    # from the probabilities back: x = log P(A) - log P(B), log ν = log P(equal) - log 2 - (log P(A) + log P(B)) / 2
    x = np.log(chances[:, 0] / chances[:, 2])
    log_nu = np.log(chances[:, 1] / 2) - (np.log(chances[:, 0]) + np.log(chances[:, 2])) / 2
    assert np.ptp(log_nu) < 1e-9
    _, by_x, by_nu = (np.array(part) for part in zip(*(
        [sum(weights[who] * np.asarray(one) for who, one in zip(weights, ones, strict=True)) for ones in zip(*(
            davidson_loss(np.array([x[i]]), np.array([LABELS[ballots[p.pair_id][who]]]), log_nu[0]) for who in weights
        ), strict=True)] for i, p in enumerate(pairs)), strict=True))  # fmt: skip
    assert by_nu.sum() + 2 * PENALTY * log_nu[0] == pytest.approx(0, abs=1e-2)
    names = sorted({t for p in pairs for t in (p.trajectory_a_id, p.trajectory_b_id)})
    slope = dict.fromkeys(names, 0.0)
    for i, p in enumerate(pairs):
        slope[p.trajectory_a_id] += float(by_x[i][0])
        slope[p.trajectory_b_id] -= float(by_x[i][0])
    # the gradient of the likelihood is -2λ r; so its differences give back x
    scores = {name: -value / (2 * PENALTY) for name, value in slope.items()}
    back = [scores[p.trajectory_a_id] - scores[p.trajectory_b_id] for p in pairs]
    assert back == pytest.approx(list(x), abs=5e-2)


def test_what_was_said_of_its_trajectories_elsewhere_decides_a_divided_pair():
    pairs, ballots = chain("A", "A", "A")
    pairs.append(Pair("far", "t0", "t3", "push", "same", "production"))
    ballots["far"] = {"x": "B", "y": "A"}
    chances = weighted_bt(table_of(ballots), pairs, {"x": 1.0, "y": 1.0})
    assert chances[3, 0] > chances[3, 2], "t0 beat t1 beat t2 beat t3"


def test_who_is_unreliable_counts_less():
    pairs, ballots = chain("A")
    ballots["p0"]["y"] = "B"
    chances = weighted_bt(table_of(ballots), pairs, {"x": 0.9, "y": 0.1})
    assert chances[0, 0] > chances[0, 2]


def test_what_everybody_calls_equal_stays_equal_where_ties_are_rare():
    ballots = {f"p{i:02d}": dict.fromkeys("xyz", "equal" if i < 4 else "AB"[i % 2]) for i in range(40)}
    pairs, answers, preferences = voted(ballots)
    by_bt = next(d for d in differences(pairs, answers, preferences) if d.method == "weighted_bt")
    assert (by_bt.pairs, by_bt.differ) == (40, 0)


def test_nobody_who_counts_says_equal_so_no_pair_is():
    pairs, ballots = chain("A", "B", "A", "B")
    ballots["p0"]["y"] = "equal"
    table, weights = table_of(ballots), {"x": 1.0, "y": 0.0}
    found = outcomes(weighted_bt(table, pairs, weights), table, weights)
    assert [SCALE[k] for k in found] == ["A", "B", "A", "B"]


def voted(ballots):
    pairs = [Pair(pair, "", "", "push", "same", "production") for pair in ballots]
    return pairs, answers_of(ballots), resolve(pairs, answers_of(ballots))


def guessed():
    """Two good people and three who guess alike on some pairs, so that the vote is wrong there."""
    rng = np.random.default_rng(2)
    ballots = {}
    for i in range(120):
        right = "AB"[i % 2]
        wrong = "BA"[i % 2]
        ballots[f"p{i:03d}"] = {"ann": right, "bo": right} | {
            who: wrong if i < 6 else str(rng.choice(SCALE)) for who in ("eve", "ed", "ez")
        }
    return ballots


def test_a_method_relabels_what_was_voted_on_to_the_end_and_says_that_it_did():
    pairs, answers, preferences = voted(guessed())
    assert preferences[0].preference == 0.0 and preferences[0].reason == "majority"
    found = apply("dawid_skene", pairs, answers, preferences)
    assert (found[0].preference, found[0].reason) == (1.0, "dawid_skene")
    same = [(a, b) for a, b in zip(found, preferences, strict=True) if a.preference == b.preference]
    assert all(a == b for a, b in same) and len(same) > 60, "where it agrees with the vote nothing is changed"
    assert apply("vote", pairs, answers, preferences) == preferences


@pytest.mark.parametrize("method", ["dawid_skene", "weighted_bt"])
def test_a_pair_that_waits_for_a_third_is_left_waiting(method):
    ballots = guessed() | {"open": {"ann": "A", "bo": "B"}}
    pairs, answers, preferences = voted(ballots)
    assert apply(method, pairs, answers, preferences)[-1].reason == "needs_third"
    assert "open" not in labels(method, pairs, answers, preferences)


def test_what_no_answer_explains_stays_ambiguous_for_dawid_skene():
    ballots = {f"p{i}": {"x": "A", "y": "equal", "z": "B"} for i in range(6)}
    pairs, answers, preferences = voted(ballots)
    found = apply("dawid_skene", pairs, answers, preferences)
    assert {p.reason for p in found} == {"ambiguous"} and {p.preference for p in found} == {None}


def test_the_table_of_differences_names_votes_and_both_labels():
    pairs, answers, preferences = voted(guessed())
    by_ds = next(d for d in differences(pairs, answers, preferences) if d.method == "dawid_skene")
    row = next(row for row in by_ds.rows if row["pair_id"] == "p000")
    assert row["votes"] == {"ann": "A", "bo": "A", "ed": "B", "eve": "B", "ez": "B"}
    assert (row["vote"], row["label"]) == ("B", "A") and row["probability"] > 0.9
    assert by_ds.pairs == 120 and by_ds.differ >= 6
    report = figures("b", answers, pairs, Quality(bootstrap=0), rng=np.random.default_rng(0), leave_out=False)
    assert [m["method"] for m in report.methods] == ["dawid_skene", "weighted_bt"]
    assert votes(answers)["p000"] == {"ann": "A", "bo": "A", "eve": "B", "ed": "B", "ez": "B"}


@pytest.mark.parametrize("method", ["dawid_skene", "weighted_bt"])
def test_the_setting_decides_what_training_gets(tmp_path, method):
    settings = {"work": tmp_path, "quality": {"bootstrap": 0, "resolution": method}}
    ws = Workspace(Config.model_validate(settings))
    ws.store.put_trajectories([Trajectory(f"t{i}", "d", i, "expert", "push") for i in range(121)])
    ballots = {pair: {k: v for k, v in b.items() if k != "ez"} for pair, b in guessed().items()}
    people = sorted({who for ballot in ballots.values() for who in ballot})
    ws.store.put_annotators([Annotator(name, f"{name}@example.org") for name in people])
    pairs = [Pair(key, f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001")
             for i, key in enumerate(ballots)]  # fmt: skip
    work = [Assignment(f"{key}-{who}", key, who, "production-001", i, "A")
            for i, (key, ballot) in enumerate(ballots.items()) for who in ballot]  # fmt: skip
    ws.store.put_pairs(Batch("production-001", "production"), pairs, work)
    ws.store.put_judgments(Judgment(f"{key}-{who}", who, key, word, 3, 9000)
                           for key, ballot in ballots.items() for who, word in ballot.items())  # fmt: skip
    for who in people:  # three of them guess; here their answers are to count all the same
        ws.store.put_review(Review("production-001", who, "keep", list(get_args(Kind)), "maria", "", "a test"))
    found = resolution.resolve(ws)
    assert any(p.reason == method for p in found)
    assert ws.store.preferences() == found
    ws.store.close()
