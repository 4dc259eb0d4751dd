"""The model scores behaviour, not padding; members are their own; a checkpoint is data and nothing else."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ml_maker import features, spec

from ml_backend.reward.features import collate, fit_normalization
from ml_backend.reward.losses import pair_loss, slipped_loss
from ml_backend.reward.model import RewardModel
from preference import bradley_terry as bt
from preference.errors import DataError


def model(temporal="conv1d", frame_size=0, **changes):
    made, _ = features(frame_size=frame_size)
    inputs = ("frames", "actions", "state") if frame_size else ("actions", "state")
    own = spec(temporal=temporal, frame_size=frame_size, projection=4 if frame_size else 0, inputs=inputs, **changes)
    network = RewardModel(own, torch.Generator().manual_seed(0))
    network.set_normalization(fit_normalization(made, own.projection, np.random.default_rng(0)))
    return network.eval(), made


TEMPORAL = ["mean", "conv1d", "transformer"]


@pytest.mark.parametrize("temporal", TEMPORAL)
@pytest.mark.parametrize("frame_size", [0, 6])
def test_padding_does_not_change_a_score(temporal, frame_size):
    network, made = model(temporal, frame_size)
    alone = np.array([network.score([item])[0][0] for item in made])
    together, _ = network.score(made)
    assert np.allclose(alone, together, atol=1e-5)
    frames, actions, state, mask = (torch.from_numpy(x) for x in collate(made[:4]))
    garbage = ~mask.unsqueeze(-1) * 1e3
    with torch.no_grad():
        assert torch.allclose(
            network(frames, actions, state, mask), network(frames, actions + garbage, state + garbage, mask), atol=1e-4
        )


@pytest.mark.parametrize("temporal", TEMPORAL)
def test_a_still_trajectory_scores_the_same_however_long_it_is(temporal):
    """With nothing but length to go by, no layer over time sees a difference."""
    network, made = model(temporal)
    one = made[0]
    short = replace(one, actions=one.actions[:1].repeat(4, 0), state=one.state[:1].repeat(4, 0), frames=one.frames[:4])
    long = replace(
        one,
        actions=one.actions[:1].repeat(40, 0),
        state=one.state[:1].repeat(40, 0),
        frames=np.zeros((40, 0), np.float16),
    )
    (a, b), _ = network.score([short, long])
    assert a == pytest.approx(b, abs=1e-5)


@pytest.mark.parametrize("temporal", ["conv1d", "transformer"])
def test_order_counts(temporal):
    network, made = model(temporal)
    longest = max(made, key=len)
    back = replace(longest, actions=longest.actions[::-1], state=longest.state[::-1])
    (a, b), _ = network.score([longest, back])
    assert abs(a - b) > 1e-4


@pytest.mark.parametrize("temporal", TEMPORAL)
def test_members_do_not_touch_each_other(temporal):
    network, made = model(temporal)
    before = network.score(made)[1]
    with torch.no_grad():
        network.hidden_weight[1] += 1.0
    after = network.score(made)[1]
    assert np.array_equal(before[[0, 2]], after[[0, 2]])
    assert not np.allclose(before[1], after[1])


def test_the_last_layer_explains_the_mean_reward_linearly():
    network, made = model()
    phi = network.last_layer(made)
    rewards, _ = network.score(made)
    residual = rewards - phi @ np.linalg.lstsq(phi, rewards, rcond=None)[0]
    assert np.abs(residual).max() < 1e-5


def test_save_and_load_give_the_same_model(tmp_path):
    network, made = model(frame_size=6)
    network.save(tmp_path / "model.pt")
    loaded = RewardModel.load(tmp_path / "model.pt")
    assert loaded.spec == network.spec
    assert np.array_equal(loaded.score(made)[0], network.score(made)[0])


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle"])
def test_what_is_no_checkpoint_is_one_clear_message(tmp_path, damage):
    path = tmp_path / "model.pt"
    model()[0].save(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "text":
        path.write_text("hello")
    else:
        torch.save({"format": 2, "spec": Path}, path)  # an object, which weights_only must refuse
    with pytest.raises(DataError, match=r"model\.pt"):
        RewardModel.load(path)


@pytest.mark.parametrize("ties", ["soft", "davidson", "margin"])
def test_the_losses_are_those_of_the_formulas(ties):
    rng = np.random.default_rng(0)
    x, label = rng.normal(0, 2, 30), rng.choice([0.0, 0.5, 1.0], 30)
    expected = {
        "soft": lambda: bt.soft_loss(x, label)[0],
        "davidson": lambda: bt.davidson_loss(x, label, 0.2)[0],
        "margin": lambda: np.where(label == 0.5, bt.softplus(np.abs(x) - 0.3), bt.soft_loss(x, label)[0]),
    }[ties]()
    found = pair_loss(torch.tensor(x)[None], torch.tensor(label), torch.tensor([0.2], dtype=torch.float64), ties, 0.3)
    assert np.allclose(found[0].numpy(), expected)


def test_the_margin_loss_draws_tied_items_together_and_not_apart():
    apart = torch.tensor([[0.5, 1.0, 2.0]], requires_grad=True)
    pair_loss(apart, torch.full((3,), 0.5), torch.zeros(1), "margin", 0.3).sum().backward()
    assert apart.grad is not None and bool((apart.grad > 0).all()), "descending it makes |x| smaller"


def test_dropped_ties_cost_nothing():
    found = pair_loss(torch.tensor([[2.0]]), torch.tensor([0.5]), torch.zeros(1), "drop", 0.3)
    assert found.item() == 0.0


def test_a_slip_of_the_hand_bounds_what_one_wrong_answer_costs():
    x, wrong, nu = torch.tensor([[50.0]]), torch.tensor([0.0]), torch.zeros(1)
    assert float(slipped_loss(x, wrong, nu, "soft", 0.3, 0.0)) == pytest.approx(50.0)
    assert float(slipped_loss(x, wrong, nu, "soft", 0.3, 0.1)) == pytest.approx(math.log(10), abs=1e-4)
    both = [float(slipped_loss(torch.tensor([[0.7]]), torch.tensor([y]), nu, "soft", 0.3, 0.1)) for y in (0.0, 1.0)]
    assert sum(math.exp(-loss) for loss in both) == pytest.approx(1.0)


def _slope(x: float, label: float, ties: str, slip: float) -> float:
    at = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    nu, said = torch.zeros(1, dtype=torch.float64), torch.tensor([label], dtype=torch.float64)
    slipped_loss(at, said, nu, ties, 0.3, slip).sum().backward()
    assert at.grad is not None
    return float(at.grad)


def test_a_wrong_equal_on_an_obvious_pair_pulls_no_more_than_a_wrong_winner():
    assert _slope(6.0, 0.0, "soft", 0.1) == pytest.approx(0.0194, abs=1e-4)
    for ties, at_six in (("soft", 0.0086), ("margin", 0.0256), ("davidson", 0.274)):
        assert _slope(6.0, 0.5, ties, 0.0) > 0.45
        assert _slope(6.0, 0.5, ties, 0.1) == pytest.approx(at_six, rel=0.02), ties
        assert _slope(20.0, 0.5, ties, 0.1) < 0.001
        worst = {answer: max(_slope(x, answer, ties, 0.1) for x in np.linspace(0, 12, 49)) for answer in (0.0, 0.5)}
        assert worst[0.5] <= worst[0.0] + 1e-9, ties


@pytest.mark.parametrize("x", [-7.0, -0.4, 1.3, 6.0])
def test_the_gradients_with_slips_are_those_of_the_mixtures(x):
    s, p = 0.1, 1 / (1 + math.exp(-x))
    first, second = s + (1 - 2 * s) * p, s + (1 - 2 * s) * (1 - p)
    slope = (1 - 2 * s) * p * (1 - p)
    assert _slope(x, 1.0, "soft", s) == pytest.approx(-slope / first)
    assert _slope(x, 0.5, "soft", s) == pytest.approx(0.5 * slope * (1 / second - 1 / first))
    weights = np.array([math.exp(x / 2), 2.0, math.exp(-x / 2)])
    q = weights / weights.sum()
    by_x = q * (np.array([0.5, 0.0, -0.5]) - 0.5 * (q[0] - q[2]))
    mixed = (1 - s) * q + s / 2 * (1 - q)
    assert mixed.sum() == pytest.approx(1.0)
    for label, wanted in zip((1.0, 0.5, 0.0), -(1 - 1.5 * s) * by_x / mixed, strict=True):
        assert _slope(x, label, "davidson", s) == pytest.approx(wanted)


def test_dropped_ties_cost_nothing_with_slips_either():
    assert _slope(2.0, 0.5, "drop", 0.1) == 0.0
