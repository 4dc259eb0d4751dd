"""What is kept of a frame is what changes steadily; where nothing tells what does, it is what varies most."""

import numpy as np
import pytest

from ml_backend.reward import features as files
from ml_backend.reward import projection
from ml_backend.reward.features import Features, fit_normalization
from ml_backend.reward.projection import fit_projection

SIZE = 30


def pool(count=40, steps=20, seed=0, size=1.0):
    """Frames (count, steps, SIZE) of strong noise in all directions but one, in which a trajectory moves from one place
    to another; and that slow signal (count, steps), `size` times as large."""
    rng = np.random.default_rng(seed)
    begin, end = 0.3 * rng.normal(size=(2, count, 1))
    signal = size * (begin + (end - begin) * np.linspace(0.0, 1.0, steps))
    values = np.concatenate([signal[:, :, None], rng.normal(size=(count, steps, SIZE - 1))], axis=2)
    rotation = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    return (values @ rotation).astype(np.float32), signal


def fit(frames, count=2):
    """`frames` is (trajectories, steps, D), or a list of (steps, D)."""
    return fit_projection(np.concatenate(list(frames)), np.array([len(one) for one in frames]), count)


def projected(frames, count=2):
    mean, directions = fit(frames, count)
    return (np.concatenate(list(frames)) - mean) @ directions


def principal(frames, count=2):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "COMPONENTS", 0)
        return fit(frames, count)


def as_pool(frames):
    return [Features(one, np.zeros((len(one), 1), np.float32), np.zeros((len(one), 0), np.float32)) for one in frames]


def likeness(values, signal):
    return abs(np.corrcoef(values, signal.ravel())[0, 1])


def test_a_slow_signal_of_little_variance_comes_first_and_no_principal_component_has_it():
    frames, signal = pool()
    slow = projected(frames)
    mean, directions = principal(frames)
    components = (np.concatenate(list(frames)) - mean) @ directions
    assert likeness(slow[:, 0], signal) > 0.95
    assert max(likeness(components[:, i], signal) for i in range(2)) < 0.3


def test_what_hardly_varies_is_not_enlarged_however_slow_it_is():
    frames, signal = pool(size=0.01)
    assert max(likeness(column, signal) for column in projected(frames).T) < 0.3
    shrunk = np.concatenate([frames[:, :, :1], 1e-3 * frames[:, :, 1:]], axis=2)
    for found, expected in zip(fit(shrunk), principal(shrunk), strict=True):
        assert np.array_equal(found, expected), "one direction alone varies enough, and two are kept"


def test_the_slowest_has_variance_1_and_quicker_ones_less():
    frames, _ = pool()
    sizes = projected(frames, 5).std(axis=0)
    assert sizes[0] == pytest.approx(1.0, abs=1e-3)
    assert np.all(np.diff(sizes) < 0) and sizes[1] < 0.5


def test_no_step_leads_from_one_trajectory_to_the_next():
    """If one did, it would matter which trajectory is the next: here all end far from where others begin."""
    frames, _ = pool(count=60, steps=3)
    frames[:, :, 0] += 20.0 * np.arange(3)
    other = np.random.default_rng(1).permutation(len(frames))
    for count in (1, 2):
        assert np.allclose(fit(frames, count)[1], fit(frames[other], count)[1], atol=1e-4)
    assert not np.allclose(
        fit(frames)[1], fit_projection(np.concatenate(list(frames)), np.array([180]), 2)[1], atol=0.01
    )


def test_what_is_another_in_each_trajectory_and_never_changes_in_it_is_not_slow():
    frames, signal = pool()
    light = np.repeat(np.random.default_rng(1).normal(size=len(frames)), frames.shape[1])
    lit = np.concatenate([frames, light.reshape(*frames.shape[:2], 1).astype(np.float32)], axis=2)
    slow = projected(lit)
    assert likeness(slow[:, 0], signal) > 0.95 and likeness(slow[:, 0], light) < 0.3


def scenes():
    """Each trajectory in a scene of its own, which is most of what varies."""
    frames, _ = pool()
    return frames + 10.0 * np.random.default_rng(1).normal(size=(len(frames), 1, SIZE)).astype(np.float32)


def still():
    frames, _ = pool()
    return np.repeat(frames[:, :1], 20, axis=1)


@pytest.mark.parametrize(
    "frames",
    [pool(count=200, steps=1)[0], pool(count=3, steps=2)[0], pool(count=1, steps=1)[0], scenes(), still()],
    ids=["one frame in each", "six frames", "one frame", "scenes of their own", "nothing ever moves"],
)
def test_where_nothing_tells_what_is_slow_principal_components_are_kept(frames):
    mean, directions = fit(frames)
    assert np.array_equal(directions, principal(frames)[1]) and np.isfinite(directions).all()
    assert np.allclose(mean, frames.mean(axis=(0, 1)), atol=1e-5)


def test_trajectories_in_which_nothing_moves_do_no_harm_to_the_others():
    frames, signal = pool()
    frames[::4] = frames[::4, :1]
    signal[::4] = signal[::4, :1]
    assert likeness(projected(frames)[:, 0], signal) > 0.95


def test_frames_that_are_all_alike_are_projected_to_0():
    assert not fit(np.ones((10, 5, SIZE), np.float32))[1].any()


def test_what_varies_in_fewer_ways_than_are_kept_leaves_the_rest_0():
    frames, _ = pool()
    frames[:, :, 3:] = 7.0
    found = fit(frames, 5)[1]
    assert np.isfinite(found).all() and found[:, :3].any(axis=0).all() and not found[:, 3:].any()


def test_principal_components_keep_their_relative_size():
    rng = np.random.default_rng(0)
    sizes = np.array([4.0, 1.0, 0.0])
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    frames = (rng.normal(size=(2000, 1, 3)) * sizes @ rotation + 7.0).astype(np.float32)
    assert np.allclose(projected(frames, 3).std(axis=0), sizes / 4.0, atol=0.02)


def test_models_of_one_pool_share_the_projection_of_its_frames(monkeypatch):
    made, rng, solved = as_pool(pool()[0]), np.random.default_rng(0), []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: solved.append(len(matrix)) or eigh(matrix))
    first, second = fit_normalization(made, 3, rng), fit_normalization(made, 3, rng)
    assert np.array_equal(first.frame_projection, second.frame_projection) and solved == [SIZE, SIZE]
    other = fit_normalization(made[:20], 3, rng)
    assert len(solved) == 4 and not np.array_equal(first.frame_projection, other.frame_projection)
    assert fit_normalization(made[:20], 2, rng).frame_projection.shape == (SIZE, 2)


def test_of_a_large_pool_whole_trajectories_are_drawn_by_the_seed(monkeypatch):
    frames, signal = pool(count=80)
    monkeypatch.setattr(files, "FITTED_FRAMES", 800)

    def fitted(seed):
        return fit_normalization(as_pool(frames), 2, np.random.default_rng(seed))

    one, again, other = fitted(0), fitted(0), fitted(1)
    assert np.array_equal(one.frame_projection, again.frame_projection)
    assert not np.array_equal(one.frame_projection, other.frame_projection)
    values = (frames.reshape(-1, SIZE) - one.frame_mean) @ one.frame_projection
    assert likeness(values[:, 0], signal) > 0.9
