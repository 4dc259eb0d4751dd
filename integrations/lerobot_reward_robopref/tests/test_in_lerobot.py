"""Inside LeRobot's own environment: the plugin is found, loads a release, and scores as Robopref does.

ROBOPREF_RELEASE names a folder with reward_model.safetensors, config.json and expected.npz.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.configs.parser import load_plugin
from lerobot.configs.rewards import RewardModelConfig
from lerobot.rewards import make_reward_model, make_reward_model_config, make_reward_pre_post_processors

RELEASE = Path(os.environ["ROBOPREF_RELEASE"])


@pytest.fixture(scope="module", autouse=True)
def _discovered():
    """As `--reward_model.discover_packages_path=lerobot_reward_robopref` does."""
    load_plugin("lerobot_reward_robopref")


@pytest.fixture
def model():
    from lerobot_reward_robopref import RoboprefRewardModel

    return RoboprefRewardModel.from_pretrained(RELEASE)


def batch_of(steps=None):
    """As LeRobot's datasets give it: channels first, in 0-1. Without `steps` the present step alone."""
    with np.load(RELEASE / "expected.npz") as file:
        parts = {name: torch.from_numpy(file[name]) for name in file.files}
    frames = parts["frames"].permute(0, 1, 4, 2, 3).float() / 255.0
    state = parts["state"]
    column = torch.stack([state[..., 1], torch.full_like(state[..., 1], 9.0), state[..., 0]], dim=-1)
    made = {
        "observation.images.front": frames, "action": parts["actions"], "observation.state": column,
        "observation.effort": state[..., 2:],
    }  # fmt: skip
    made = made if steps else {name: value[:, 0] for name, value in made.items()}
    return made, parts["window" if steps else "present"]


def test_the_type_is_known_and_the_model_is_made_by_lerobots_factory():
    assert "robopref" in RewardModelConfig.get_known_choices()
    config = RewardModelConfig.from_pretrained(RELEASE)
    assert config.type == "robopref"
    config.pretrained_path = str(RELEASE)
    made = make_reward_model(config)
    assert type(made).__name__ == "RoboprefRewardModel" and not made.is_trainable
    before, after = make_reward_pre_post_processors(config)
    assert before is not None and after is not None
    with pytest.raises(ValueError, match="describes no model"):
        make_reward_model(make_reward_model_config("robopref", device="cpu"))


def test_rewards_are_those_of_robopref(model):
    for steps in (None, 4):
        batch, expected = batch_of(steps)
        found = model.compute_reward(batch)
        assert found.shape == (5,) and found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_window_that_is_padded_counts_its_real_steps(model):
    batch, _ = batch_of(4)
    padded = torch.zeros(5, 4, dtype=torch.bool)
    padded[:, 2:] = True
    shorter = {name: value[:, :2] for name, value in batch.items()}
    found = model.compute_reward({**batch, "observation.images.front_is_pad": padded})
    torch.testing.assert_close(found, model.compute_reward(shorter), rtol=1e-4, atol=1e-4)


def test_actions_in_chunks_count_with_the_present_one(model):
    batch, expected = batch_of()
    chunks, _ = batch_of(4)
    torch.testing.assert_close(
        model.compute_reward({**batch, "action": chunks["action"]}), expected, rtol=1e-4, atol=1e-4
    )


def test_saving_and_loading_by_lerobot_changes_nothing(model, tmp_path):
    from lerobot_reward_robopref import RoboprefRewardModel

    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"config.json", "model.safetensors"}
    again = RoboprefRewardModel.from_pretrained(tmp_path)
    batch, expected = batch_of(4)
    torch.testing.assert_close(again.compute_reward(batch), expected, rtol=1e-4, atol=1e-4)


def test_the_pipeline_brings_a_single_observation_to_the_model(model):
    batch, expected = batch_of()
    before, _ = make_reward_pre_post_processors(model.config)
    one = {name: value[0] for name, value in batch.items()}
    one["observation.effort"] = batch["observation.effort"][:1]  # LeRobot's step knows images, state and action alone
    one = before(one)
    torch.testing.assert_close(model.compute_reward(one), expected[:1], rtol=1e-4, atol=1e-4)


def test_another_robot_is_one_clear_error(model):
    batch, _ = batch_of()
    with pytest.raises(KeyError, match=r"no 'observation\.state'.*trained on"):
        model.compute_reward({k: v for k, v in batch.items() if k != "observation.state"})
    with pytest.raises(ValueError, match=r"action has shape \(5, 1\).*2 numbers of actions.*another robot"):
        model.compute_reward({**batch, "action": batch["action"][:, :1]})
    with pytest.raises(ValueError, match=r"front has shape \(5, 48, 64, 3\)"):
        model.compute_reward({**batch, "observation.images.front": batch["observation.images.front"].movedim(1, -1)})
    config = model.config
    config.input_features = {"action": None}
    with pytest.raises(ValueError, match=r"no 'observation\.images\.front'"):
        config.validate_features()


def test_broken_or_mixed_files_are_one_clear_error(tmp_path):
    from lerobot_reward_robopref import RoboprefRewardModel

    copied = shutil.copytree(RELEASE, tmp_path / "cut")
    weights = copied / "reward_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="broken or cut short"):
        RoboprefRewardModel.from_pretrained(copied)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor reward_model\.safetensors"):
        RoboprefRewardModel.from_pretrained(copied)
    mixed = shutil.copytree(RELEASE, tmp_path / "mixed")
    config = json.loads((mixed / "config.json").read_text())
    spec = json.loads(config["spec"])
    config["spec"] = json.dumps(spec | {"hidden": spec["hidden"] * 2})
    (mixed / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"not of one release"):
        RoboprefRewardModel.from_pretrained(mixed)


def test_a_model_of_several_tasks_cameras_or_robots_is_refused(model):
    from lerobot_reward_robopref import RoboprefRewardModel

    contract = json.loads(model.config.contract)
    for more in ({"cameras": ["a", "b"]}, {"robots": [{}, {}]}, {"task_columns": True}):
        model.config.contract = json.dumps(contract | more)
        with pytest.raises(ValueError, match="does not pass on to it yet"):
            RoboprefRewardModel(model.config)


def test_lerobots_own_weighter_reads_the_progress_of_an_export(tmp_path):
    """Episode 0 goes on steadily, 1 goes back, 2 is unknown; a chunk is two frames."""
    pandas = pytest.importorskip("pandas")
    from lerobot.rewards.sarm.rabc import RABCWeights

    progress = [0.0, 0.3, 0.6, 1.0, 0.8, 0.6, 0.4, 0.2, *[float("nan")] * 4]
    table = {"index": range(12), "episode_index": [0] * 4 + [1] * 4 + [2] * 4, "frame_index": [*range(4)] * 3}
    path = tmp_path / "robopref_progress.parquet"
    pandas.DataFrame(table | {"progress_sparse": np.array(progress, np.float32)}).to_parquet(path)
    weighter = RABCWeights(path, chunk_size=2, device=torch.device("cpu"))
    weights, told = weighter.compute_batch_weights({"index": torch.tensor([0, 1, 4, 5, 8])})
    assert (weights[:2] > 0).all() and (weights[2:4] == 0).all() and weights[4] > 0
    assert told["num_zero_weight"] == 2


def test_an_act_policy_trained_with_these_weights_learns_the_episode_that_goes_on(tmp_path):
    """Some steps of LeRobot's ACT, the loss of each sample times its weight. Both episodes have the same observations
    and opposite actions, so without weights it could learn neither."""
    pandas = pytest.importorskip("pandas")
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.rewards.sarm.rabc import RABCWeights
    from lerobot_reward_robopref import ActWeightedConfig, ActWeightedPolicy

    progress = np.array([0.0, 0.3, 0.6, 1.0, 0.8, 0.6, 0.4, 0.2], np.float32)
    table = {"index": range(8), "episode_index": [0] * 4 + [1] * 4, "frame_index": [*range(4)] * 2}
    path = tmp_path / "robopref_progress.parquet"
    pandas.DataFrame(table | {"progress_sparse": progress}).to_parquet(path)
    weighter = RABCWeights(path, chunk_size=1, device=torch.device("cpu"))
    torch.manual_seed(0)
    observed = {
        "observation.state": PolicyFeature(FeatureType.STATE, (2,)),
        "observation.environment_state": PolicyFeature(FeatureType.ENV, (2,)),
    }
    config = ActWeightedConfig(
        input_features=observed, output_features={"action": PolicyFeature(FeatureType.ACTION, (1,))}, chunk_size=1,
        n_action_steps=1, dim_model=16, n_heads=2, dim_feedforward=16, n_encoder_layers=1, use_vae=False, dropout=0.0,
        pretrained_backbone_weights=None, device="cpu",
    )  # fmt: skip
    policy = ActWeightedPolicy(config).train()
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    rows = [0, 1, 2, 4, 5, 6]  # without the last frames, whose progress does not change

    batch = dict.fromkeys(observed, torch.ones(6, 2)) | {"action_is_pad": torch.zeros(6, 1, dtype=torch.bool)}
    batch["action"] = torch.tensor([1.0 if row < 4 else -1.0 for row in rows]).reshape(6, 1, 1)
    for _ in range(60):
        weights, _ = weighter.compute_batch_weights({"index": torch.tensor(rows)})
        losses, _ = policy.forward(batch, reduction="none")
        optimizer.zero_grad()
        (losses * weights).mean().backward()
        optimizer.step()
    found = policy.eval().predict_action_chunk(dict.fromkeys(observed, torch.ones(1, 2)))
    assert found.item() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("use_vae", [False, True])
def test_the_losses_of_single_samples_average_to_acts_own(use_vae):
    """With as many steps in each sample, as ACT weighs every step alike."""
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
    from lerobot_reward_robopref import ActWeightedPolicy

    kinds = {"observation.state": FeatureType.STATE, "observation.environment_state": FeatureType.ENV}
    config = make_policy_config(
        "act_weighted", input_features={name: PolicyFeature(kind, (2,)) for name, kind in kinds.items()},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (3,))}, chunk_size=4, n_action_steps=4,
        dim_model=16, n_heads=2, dim_feedforward=16, n_encoder_layers=1, use_vae=use_vae, latent_dim=4, dropout=0.0,
        pretrained_backbone_weights=None, device="cpu",
    )  # fmt: skip
    assert get_policy_class("act_weighted") is ActWeightedPolicy
    assert len(make_pre_post_processors(config, dataset_stats={})) == 2
    torch.manual_seed(0)
    policy = ActWeightedPolicy(config).train()
    pad = torch.zeros(5, 4, dtype=torch.bool)
    pad[:, 3] = True
    batch = {name: torch.randn(5, 2) for name in kinds} | {"action": torch.randn(5, 4, 3), "action_is_pad": pad}
    torch.manual_seed(1)
    mean, told = policy.forward(dict(batch))
    torch.manual_seed(1)
    each, also = policy.forward(dict(batch), reduction="none")
    assert each.shape == (5,) and also.keys() == told.keys()
    torch.testing.assert_close(each.mean(), mean)
    with pytest.raises(ValueError, match="'mean' or 'none'"):
        policy.forward(batch, reduction="sum")
