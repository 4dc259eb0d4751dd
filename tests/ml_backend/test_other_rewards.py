"""Other rewards beside ours on the same held-out pairs: figures by hand, and files that do not fit."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from ml_backend.loop.train import train
from ml_backend.loop.validate import page_of, validate_model
from ml_backend.reward.dataset import Pairs, average_precision
from ml_backend.validation.other_rewards import Scores, clock, read_scores, side_by_side
from preference.errors import DataError
from preference.records import Trajectory


def pool(successes, **more):
    return [
        Trajectory(f"d-{i}", "d", i, "expert", "push", success=s, num_frames=4, fps=2.0, **more)
        for i, s in enumerate(successes)
    ]


def pairs(*rows):
    a, b, label = (np.array(column) for column in zip(*rows, strict=True))
    return Pairs(tuple(f"p{i}" for i in range(len(a))), a, b, label.astype(float), np.ones(len(a)))


def test_average_precision_is_scikit_learns():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, success = rng.integers(0, 6, 30).astype(float), rng.random(30) < 0.4
        assert average_precision(scores, success) == pytest.approx(average_precision_score(success, scores))
    assert math.isnan(average_precision(np.arange(3.0), np.zeros(3, bool)))


def test_every_figure_by_hand():
    """Ours is right on three of four preferences and has one tie of people; the other's scores are equal twice."""
    trajectories = pool([True, True, False, False])
    held = pairs((0, 1, 1.0), (0, 2, 1.0), (3, 1, 0.0), (2, 3, 1.0), (0, 3, 0.5))
    ours = Scores("this model", np.array([3.0, 1.0, 0.0, 2.0]))
    other = Scores("flag", np.array([1.0, 1.0, 0.0, 0.0]))
    found = side_by_side([ours, other, clock(trajectories)], trajectories, held, np.random.default_rng(0))
    # ours: 0>1 right, 0>2 right, 3<1 wrong, 2>3 wrong; the flag: equal, right, right, equal
    assert [found[name]["accuracy"]["value"] for name in ("this model", "flag")] == [0.5, 0.75]
    assert found["flag"]["ahead"]["value"] == pytest.approx(-0.25)
    assert found["this model"]["kendall"]["value"] == 0.0
    assert found["flag"]["kendall"]["value"] == pytest.approx(2 / 5)
    assert found["flag"]["success_auprc"]["value"] == 1.0
    assert found["flag"]["success_gap"]["value"] == pytest.approx(2.0)
    assert (found["flag"]["accuracy"]["pairs"], found["flag"]["kendall"]["pairs"]) == (4, 5)
    assert found["flag"]["success_auprc"]["trajectories"] == 4
    assert math.isnan(found["flag"]["voc"]["value"])
    assert found["time ramp"]["voc"]["value"] == pytest.approx(1.0)
    assert found["time ramp"]["cycle_voc"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert found["flag"]["accuracy"]["low"] <= 0.75 <= found["flag"]["accuracy"]["high"]


def test_a_reward_that_rises_there_and_falls_back_follows_the_cycle():
    trajectories = pool([True, False])
    rise = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0, 0.0])]
    cycles = [np.concatenate([own, own[::-1]]) for own in rise]
    one = Scores("good", np.array([1.0, 0.0]), rise, cycles)
    found = side_by_side([one], trajectories, pairs((0, 1, 1.0)), np.random.default_rng(0))["good"]
    assert found["voc"] == {"value": 1.0, "low": 1.0, "high": 1.0, "trajectories": 1}, "failures are left out"
    assert found["cycle_voc"]["value"] == pytest.approx(1.0)
    assert found["accuracy"]["low"] < 1.0, "one pair claims no certainty"


def test_scores_of_whole_trajectories_and_of_frames_are_read(tmp_path):
    trajectories = pool([True, False])
    whole = tmp_path / "classifier.csv"
    whole.write_text("trajectory_id,success\nd-1,0.25\nd-0,0.75\nd-9,1\n")
    assert read_scores(whole, trajectories).score.tolist() == [0.75, 0.25]
    frames = pd.DataFrame({"episode_index": np.repeat([0, 1], 4), "frame_index": [3, 2, 1, 0, 0, 1, 2, 3]})
    for column, expected in (("progress_sparse", [0.0, 7.0]), ("reward", [1.5, 5.5])):
        path = tmp_path / f"{column}.parquet"
        frames.assign(**{column: np.arange(8.0), "index": range(8)}).to_parquet(path)
        found = read_scores(path, trajectories)
        assert found.score.tolist() == expected and found.name == column
        assert found.courses[0].tolist() == [3.0, 2.0, 1.0, 0.0] and not found.cycles
    there = frames.assign(score=1.0, playback="forward")
    back = pd.DataFrame({"episode_index": np.repeat([0, 1], 8), "frame_index": [*range(8)] * 2})
    path = tmp_path / "both.parquet"
    pd.concat([there, back.assign(score=2.0, playback="cycle")]).to_parquet(path)
    assert [len(own) for own in read_scores(path, trajectories).cycles] == [8, 8]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trajectory_id,score\nother-0,1\n", "2 of 2 compared trajectories have no score.*other episodes"),
        ("trajectory_id,score\nd-0,1\nd-1,\n", "score, row 2: expected a number, found ''"),
        ("trajectory_id,score\nd-0,high\nd-1,1\n", "score, row 1: expected a number, found 'high'"),
        ("trajectory_id,score\nd-0,inf\nd-1,1\n", "score, row 1, 'd-0': expected a number, found nan or infinity"),
        ("trajectory_id,points\nd-0,1\n", "no column of scores; found trajectory_id, points"),
        ("episode,score\n0,1\n", "trajectory_id or episode_index is missing; found episode, score"),
        ("trajectory_id,score\nd-0,1\nd-0,2\nd-1,1\n", "'d-0' has 2 rows, expected one.*frame_index"),
        ("trajectory_id,frame_index,score\nd-0,0,1\nd-0,0,1\nd-1,0,1\n", "frame 0 of 'd-0' has 2 scores"),
        ("trajectory_id,frame_index,score\nd-0,0,1\nd-1,9,1\n", "'d-1' has 4 frames, found a score of frame 9.*rate"),
        ("trajectory_id,playback,score\nd-0,back,1\nd-1,back,1\n", "playback: expected forward or cycle, found 'back'"),
        ("trajectory_id,playback,score\nd-0,cycle,1\nd-1,cycle,1\n", "'d-0' has no row whose playback is forward"),
        ("", "no column of scores; found no columns"),
    ],
)
def test_scores_that_do_not_fit_are_one_clear_error(tmp_path, text, words):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as refused:
        read_scores(path, pool([True, False]))
    assert str(path) in str(refused.value)


def test_a_file_that_is_missing_or_no_parquet_is_one_clear_error(tmp_path):
    broken = tmp_path / "scores.parquet"
    with pytest.raises(DataError, match="File not found"):
        read_scores(broken, pool([True]))
    broken.write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_scores(broken, pool([True]))


def test_episode_numbers_of_several_datasets_need_the_datasets_name(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("episode_index,score\n0,1\n1,2\n")
    two = [Trajectory(f"{name}-0", name, 0, "expert", "push") for name in ("d", "e")]
    with pytest.raises(DataError, match="does not tell which of 2 datasets: d, e"):
        read_scores(path, two)
    path.write_text("episode_index,dataset,score\n0,e,1\n0,d,2\n")
    assert read_scores(path, two).score.tolist() == [2.0, 1.0]


def test_the_page_sets_them_side_by_side_and_a_wrong_file_changes_nothing(labelled_pool):
    ws = labelled_pool
    record = train(ws)
    path = ws.root / "quality.csv"
    rows = [f"{t.trajectory_id},{1 - i}" for i, t in enumerate(ws.store.trajectories())]
    path.write_text("trajectory_id,score\n" + "\n".join(rows) + "\n")
    validate_model(ws, against=[path])
    found = json.loads((ws.root / record.path / "validation.json").read_text())["against"]
    assert list(found) == ["this model", "time ramp", "quality"]
    assert found["quality"]["accuracy"]["value"] == 1.0, "people preferred the first ids"
    assert found["this model"]["voc"]["value"] is not None and found["this model"]["cycle_voc"]["value"] is not None
    page = page_of(ws).read_text()
    assert "Side by side with other rewards" in page and "quality" in page and "time ramp" in page
    other = ws.root / "other" / "quality.csv"
    other.parent.mkdir()
    other.write_text("trajectory_id,score\nelsewhere-1,1\n")
    before = page_of(ws).read_bytes()
    for files, words in (([other], "have no score"), ([path, path], "two files are called 'quality'")):
        with pytest.raises(DataError, match=words):
            validate_model(ws, against=files)
    assert page_of(ws).read_bytes() == before
