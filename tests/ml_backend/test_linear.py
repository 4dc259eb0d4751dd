"""The linear part of the steps: much while labels are few, and then what the labels say."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ml_maker import crowd, features, pairs_of, spec

from importer.pool.quality import quartiles
from ml_backend.reward.dataset import Quartiles, Split
from ml_backend.reward.evidence import Answers
from ml_backend.reward.features import collate
from ml_backend.reward.linear import LinearSteps, learn_linear
from ml_backend.reward.model import RewardModel
from ml_backend.reward.train import train_model
from preference.config import Reward
from release.onnx import Example, WholePath, export_onnx, parity

REWARD = Reward(inputs=["actions", "state"], epochs=30, hidden=8, members=3)
NONE = np.zeros(0, int)


def fitted(count=40, seed=0, of=spec, pairs=None, pool=features, **settings):
    made, truth = pool(count=60, seed=seed)
    pairs = pairs_of(truth, count=count, seed=seed) if pairs is None else pairs(made, truth)
    reward = REWARD.model_copy(update=settings)
    trained = train_model(made, pairs, Split(np.arange(len(pairs)), NONE, NONE), of(hidden=8), reward, seed=seed)
    return trained, made, truth


def given(model, made):
    """Normalized inputs and mask."""
    frames, actions, state, mask = (torch.from_numpy(array) for array in collate(made))
    return model.normalize(frames, actions, state), mask


def parts_of(trained, made):
    """Mean rewards of the linear part and of the network, each (N,)."""
    inputs, mask = given(trained.model, made)
    with torch.no_grad():
        linear = trained.model.linear(inputs, mask, None).mean(dim=0)
        return linear.numpy(), trained.model.rewards(trained.model.embed(inputs, mask)).mean(dim=0).numpy()


def near_a_place(made, truth):
    """What is good is to be near a place, so neither inputs nor their changes tell it, but their squares do."""
    return -(truth**2)


def same_sign(count, seed):
    """What is good is that two values have the same sign: neither inputs nor their squares say so."""
    made, first = features(count, seed)
    second = np.random.default_rng([seed, 1]).normal(size=count)
    made = [
        replace(item, state=item.state + np.array([0, y, 0], np.float32)) for item, y in zip(made, second, strict=True)
    ]
    return made, np.sign(first * second) + 0.01 * first


def asked(count, good=None):
    return lambda made, truth: pairs_of(truth if good is None else good(made, truth), count=count)


def test_labels_choose_what_it_counts():
    def share(count, **of):
        return np.mean([fitted(seed=seed, pairs=asked(count, of.get("good")), pool=of.get("pool", features))[0]
                        .weights["linear"] for seed in range(3)])  # fmt: skip

    assert share(20, good=near_a_place) > 0.7, "few labels say little, and it is expected to be right"
    assert share(400, good=near_a_place) > 0.2, "what it can tell it still tells where the network sees much, too"
    assert share(200, pool=same_sign) < 0.1 < share(20, pool=same_sign), "and what it cannot, labels say"


def test_both_parts_are_brought_to_one_size():
    trained, made, truth = fitted(40)
    pairs = pairs_of(truth, count=40)
    linear, network = parts_of(trained, [made[i] for i in np.unique(np.concatenate([pairs.a, pairs.b]))])
    share = trained.weights["linear"]
    assert sum(trained.weights.values()) == pytest.approx(1.0) and 0.3 < share < 0.9
    assert linear.std() / network.std() == pytest.approx(share / (1 - share), rel=0.01)


def test_without_it_the_network_is_alone_and_trained_as_beside_it():
    off, _, _ = fitted(40, linear_until=0)
    assert off.model.linear is None and not off.model.spec.linear
    assert off.weights == {"simple": 0.0, "network": 1.0}
    on, _, _ = fitted(40)
    assert on.model.linear is not None and on.best_epoch == off.best_epoch
    parts = [on.model.hidden_weight, off.model.hidden_weight]
    sizes = [float(part.norm()) for part in parts]
    assert torch.allclose(parts[0] / sizes[0], parts[1] / sizes[1], atol=1e-6)


def stateless(count, seed):
    made, truth = features(count, seed)
    return [replace(item, state=item.state[:, :0]) for item in made], truth


@pytest.mark.parametrize(
    ("changes", "pool"), [({"inputs": ("actions",)}, features), ({"state_names": ()}, stateless)],
    ids=["the settings leave it out", "no dataset has one"],
)  # fmt: skip
def test_a_model_that_sees_no_state_does_without(changes, pool):
    trained, _, _ = fitted(40, of=lambda **sizes: spec(**changes, **sizes), pool=pool)
    assert trained.model.linear is None and trained.weights["network"] == 1.0


def test_it_is_fitted_to_some_trajectories_at_a_time(monkeypatch):
    """All at once, 10,000 of them would take more than a gigabyte."""
    monkeypatch.setattr(RewardModel, "centre", lambda *_: None)  # which scores as many as there are
    whole, made, _ = fitted(40)
    sizes, means = [], LinearSteps.means

    def counted(part, inputs, mask, progress):
        sizes.append(len(inputs))
        return means(part, inputs, mask, progress)

    monkeypatch.setattr(LinearSteps, "means", counted)
    monkeypatch.setattr("ml_backend.reward.network.CHUNK", 7)
    trained, _, _ = fitted(40)
    assert max(sizes) == 7 and sum(sizes) > 30
    monkeypatch.setattr(LinearSteps, "means", means)
    assert np.allclose(trained.model.score(made)[1], whole.model.score(made)[1], atol=1e-4)


def test_named_parts_and_several_task_types_do_without():
    assert fitted(parts=["linear", "network"])[0].model.linear is None

    def told(**sizes):
        return spec(task_types=("close", "open"), task_columns=True, **sizes)

    made, truth = features(count=60)
    made = [replace(item, state=np.pad(item.state, ((0, 0), (0, 2)))) for item in made]
    pairs = pairs_of(truth, count=40)
    trained = train_model(made, pairs, Split(np.arange(40), NONE, NONE), told(hidden=8), REWARD, seed=0)
    assert trained.model.linear is None and trained.weights["network"] == 1.0


def test_with_few_labels_it_orders_unseen_trajectories_better():
    def right(seed, **settings):
        trained, _, _ = fitted(20, seed, pairs=asked(20, near_a_place), **settings)
        unseen, truth = features(count=60, seed=seed + 100)
        rewards, good = trained.model.score(unseen)[0], -(truth**2)
        a, b = np.triu_indices(len(truth), 1)
        return np.mean((rewards[a] > rewards[b]) == (good[a] > good[b]))

    assert np.mean([right(seed) - right(seed, linear_until=0) for seed in range(6)]) > 0.02


@pytest.mark.parametrize(("width", "counts"), [(5, False), (5, True), (0, True)])
def test_it_is_linear_in_the_means_of_its_columns_and_padding_does_not_reach_it(width, counts):
    made, _ = features(count=5)
    part = LinearSteps(width, counts, 2)
    part.size.copy_(torch.rand(2 * width + counts))
    part.weight.copy_(torch.randn(2, 2 * width + counts))
    model = RewardModel(spec())
    model.action_scale.fill_(1.0)
    model.state_scale.fill_(1.0)
    inputs, mask = given(model, made)
    progress = torch.rand(mask.shape) if counts else None
    for row, item in enumerate(made):
        x = np.concatenate([item.actions, item.state], axis=1)
        own = np.concatenate([x.mean(axis=0), (x**2).mean(axis=0)])[: 2 * width]
        if progress is not None:
            own = np.append(own, progress[row, : len(item)].mean())
        assert np.allclose(part.means(inputs, mask, progress)[row], own, atol=1e-5)
        assert np.allclose(
            part(inputs, mask, progress)[:, row], part.weight.numpy() @ (part.size.numpy() * own), atol=1e-5
        )
    steps = part.steps(inputs, mask, progress)
    assert torch.allclose(steps.sum(dim=2), part(inputs, mask, progress), atol=1e-5)
    assert not steps[:, ~mask].any()


def test_all_that_scores_has_it_and_its_parts_of_steps_add_up(tmp_path):
    trained, made, _ = fitted()
    model = trained.model
    before = model.score(made)[1]
    model.cool(1.7)
    rewards, members = model.score(made)
    assert np.allclose(members, before / 1.7, atol=1e-5)
    assert np.allclose(members.mean(axis=1), 0, atol=1e-4)
    steps = np.array([found.rewards.sum(axis=1) for found in model.score_steps(made)]).T
    assert np.abs(steps - members).max() < 1e-5
    assert trained.attribution["steps"] == 1.0
    phi = model.last_layer(made)
    assert phi.shape == (60, 3 * 8 + 10)
    phi, rewards = phi - phi.mean(0), rewards - rewards.mean()
    assert np.abs(rewards - phi @ np.linalg.lstsq(phi, rewards, rcond=None)[0]).max() < 1e-3
    model.save(tmp_path / "model.pt")
    assert np.array_equal(RewardModel.load(tmp_path / "model.pt").score(made)[1], members)
    whole = WholePath(model, None)
    export_onnx(whole, model.spec, {}, tmp_path / "model.onnx", tmp_path / "kept.onnx")
    examples = [Example(f"t{i}", np.zeros((len(x), 0)), x.actions, x.state) for i, x in enumerate(made[:5])]
    assert max(parity(tmp_path / "model.onnx", whole, model.spec, examples).values()) < 1e-4


def test_where_all_answers_are_equal_there_is_none():
    def ties(made, truth):
        pairs = pairs_of(truth, count=30)
        return replace(pairs, label=np.full(30, 0.5))

    trained, made, _ = fitted(pairs=ties)
    assert trained.model.linear is None and np.isfinite(trained.model.score(made)[0]).all()


def test_it_learns_from_weak_pairs_and_from_single_answers_too():
    def weak(made, truth):
        return replace(pairs_of(truth, count=20), quartiles=Quartiles(quartiles(truth), np.zeros(60, int)))

    def alone(made, truth):
        return pairs_of(truth, count=20)

    def said(made, truth):
        return crowd(truth, rights=(0.95, 0.95, 0.05), count=60)[0]

    def closeness(found):
        trained, made, truth = found
        return np.corrcoef(parts_of(trained, made)[0], truth)[0, 1]

    found = fitted(pairs=weak)
    assert found[0].weak["pairs"] > 0 and math.isclose(sum(found[0].weights.values()), 1.0)
    assert closeness(found) > closeness(fitted(pairs=alone))
    answered = fitted(pairs=said, reliability="crowd_bt")
    assert answered[0].reliability["ann2"] < answered[0].reliability["ann0"] and closeness(answered) > 0.8


def test_members_differ_in_what_progress_counts_while_answers_have_not_decided_it():
    rng, pairs = np.random.default_rng(0), np.arange(40).reshape(2, 20)
    progress = torch.linspace(0, 1, 40, dtype=torch.float64)[torch.from_numpy(rng.permutation(40))].unsqueeze(1)
    better = (progress[pairs[0], 0] > progress[pairs[1], 0]).double().numpy()

    def counts(answers):
        """Mean and standard deviation over members of what progress counts, after so many answers that prefer it."""
        part, place = LinearSteps(0, True, 400), np.arange(answers)
        said = Answers(place, better[:answers], np.ones(answers), np.full(answers, 0.1))
        rows = (pairs[0, :answers], pairs[1, :answers])
        learn_linear(part, progress, rows, said, np.zeros(0, bool), rng.integers(5, size=40), rng)
        found = part.weight[:, 0] * part.size[0]
        return float(found.mean()), float(found.std())

    (few, unsure), (many, sure) = counts(1), counts(20)
    assert many > few + 1.0 and unsure > 5.0 and sure < 4.5, "6 before any answer, 3.3 where one prior is left"
