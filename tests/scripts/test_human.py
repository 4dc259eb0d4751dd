"""The benchmark on people's answers keeps what it tests on apart, and its peers learn."""

import json

import human
import numpy as np
import pytest
from human import (
    EACH,
    FIRST,
    METHODS,
    PEERS,
    RULES,
    SEGMENT,
    Door,
    Task,
    choose,
    hits,
    learn,
    once,
    pool_of,
    replay,
    rounds,
    splits,
)

from ml_backend.reward.features import Features


@pytest.fixture
def door():
    """Eight episodes whose first state value is how good a step is."""
    rng = np.random.default_rng(0)
    episodes = {
        n: Features(
            np.zeros((200, 0), np.float16),
            rng.normal(size=(200, 1)).astype(np.float32),
            rng.normal(size=(200, 2)).astype(np.float32) + np.linspace(-1, 1, 200, dtype=np.float32)[:, None] * [1, 0],
        )
        for n in range(8)
    }
    episode, start = np.repeat(np.arange(8), 10), np.tile(np.arange(0, 150, 15), 8)
    a, b = rng.choice(80, (2, 400))
    return Door(episodes, episode, start, start * 1.0, a, b, np.where(a == b, 0.5, (start[a] > start[b]) * 1.0))


def test_no_episode_of_the_test_is_learned_from(door):
    for rows, test in splits(door, 5):
        learned = {*door.episode[door.a[rows]], *door.episode[door.b[rows]]}
        tested = {*door.episode[door.a[test]], *door.episode[door.b[test]]}
        assert learned and tested and not learned & tested


def test_segments_are_those_that_people_saw_and_peers_learn_from_answers(door):
    assert len(door.features) == 80 and all(len(item) == SEGMENT for item in door.features)
    rows, test = splits(door, 1)[0]
    task = Task(door, rows[:100], pool_of(door, rows), 0)
    for name in PEERS[:3]:
        assert hits(door, METHODS[name](task), test).mean() > 0.8, name


def test_a_replayed_round_asks_for_answers_that_exist_and_for_none_twice(door):
    rows, test = splits(door, 1)[0]
    rows = once(door, rows)
    assert len({frozenset((door.a[row], door.b[row])) for row in rows}) == len(rows)
    known, left = rows[:FIRST], rows[FIRST:80]
    task = Task(door, known, pool_of(door, rows), 0)
    model, pairs = learn(task, ["network"])
    for rule in RULES[1:]:
        chosen = choose(task, model, pairs, left, rule)
        assert len(set(chosen.tolist())) == EACH and set(chosen.tolist()) <= set(left.tolist())
        assert set(chosen.tolist()) != set(left[:EACH].tolist())
    assert list(replay(door, rows[:50], test, 0, "uniform")) == [20, 40, 50]


@pytest.mark.parametrize(("by_40", "by_100", "met"), [(0.9, 0.95, True), (0.9, 0.94, False), (0.89, 0.95, False)])
def test_replayed_rounds_are_held_against_what_chance_has_with_more_answers(
    door, monkeypatch, capsys, by_40, by_100, met
):
    courses = {"uniform": {20: 0.8, 40: 0.85, 100: 0.9}, "v_optimal": {20: 0.8, 40: by_40, 100: by_100},
               "smallest_difference": {20: 0.8, 40: 0.8, 100: 0.8}}  # fmt: skip
    monkeypatch.setattr(human, "replay", lambda *told: courses[told[-1]] | {262 + told[-2]: 0.95})
    with pytest.raises(SystemExit) as end:
        rounds(door, 2)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["met"] is met and end.value.code == (0 if met else 1)
    assert report["figures"]["100 against all"][0] == pytest.approx(by_100 - 0.95, abs=1e-4)
    assert report["figures"]["40 against 100"][0] == pytest.approx(by_40 - 0.9, abs=1e-4)
