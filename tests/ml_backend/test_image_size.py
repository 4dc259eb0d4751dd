"""`reward.image_size`: frames of another size than the network's own, from the settings to the model's description."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from lerobot_maker import Made, make_dataset

from importer.pool.build import build_pool
from ml_backend.loop.features import encode_pool, encoder_settings, plan
from ml_backend.loop.spec import describe, features_for
from ml_backend.loop.train import fingerprint
from ml_backend.reward.encoder import export, load
from ml_backend.reward.encoder_weights import resolve_weights
from preference.config import Reward
from preference.config_file import load_config
from preference.errors import ConfigError, DataError
from preference.workspace import Workspace

CONFIG = """
workers = 1
[[pool.dataset]]
path = "data"
[reward]
encoder = "test_vit"
weights = "none"
sample_fps = 2.0
"""
OWN = 160
PICTURES = np.random.default_rng(0).integers(0, 255, (2, 60, 80, 3), dtype=np.uint8)


@pytest.fixture
def ws(tmp_path):
    make_dataset(tmp_path / "data", [Made(rows=30, still=5), Made(rows=34, still=5)])
    (tmp_path / "robopref.toml").write_text(CONFIG)
    ws = Workspace.open(tmp_path / "robopref.toml")
    build_pool(ws)
    yield ws
    ws.store.close()


def of_size(ws, size):
    reward = ws.config.reward.model_copy(update={"image_size": size})
    other = Workspace(ws.config.model_copy(update={"reward": reward}))
    other.store = ws.store
    return other


def places(ws):
    encoder = encoder_settings(ws.config.reward)
    return [
        job.path for job in plan(ws.store.trajectories(), ws.config.pool, ws.config.reward, encoder, ws.features)[0]
    ]


def weights_of(name, folder):
    torch.manual_seed(1)
    torch.save(timm.create_model(name, pretrained=False).state_dict(), folder / f"{name}.pt")
    return folder / f"{name}.pt"


def test_each_size_has_its_own_features_and_the_networks_own_is_the_default(ws):
    assert places(of_size(ws, OWN)) == places(ws)
    assert not set(places(of_size(ws, 64))) & set(places(ws))


def test_a_size_that_is_not_set_is_in_no_key(ws):
    assert "image_size" not in Reward().model_dump()
    assert Reward(image_size=64).model_dump()["image_size"] == 64
    keys = {size: fingerprint(of_size(ws, size), [], "none") for size in (0, 64, 96)}
    assert len(set(keys.values())) == 3
    # as it was before there was the setting
    assert "image_size" not in ws.config.reward.model_dump(exclude={"weights"})


def test_a_model_sees_frames_of_its_own_size_whatever_the_settings_say_now(ws, tmp_path):
    trajectories, small = ws.store.trajectories(), of_size(ws, 64)
    store = encode_pool(small, trajectories)
    spec = describe(small, store, trajectories)
    assert spec.image_size == 64
    again = features_for(ws, spec, tmp_path)
    assert again.paths == store.paths and again.encoded == 0


@pytest.mark.parametrize(("name", "size"), [("test_vit", 64), ("swin_tiny_patch4_window7_224", 64), ("resnet10t", 64)])
def test_weights_for_another_size_are_fitted_as_timm_does(tmp_path, name, size):
    file = weights_of(name, tmp_path)
    found = load(resolve_weights(name, str(file), size))
    any_size = {} if name == "resnet10t" else {"img_size": size}
    overlay = {"file": str(file), "custom_load": False}
    network = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **any_size)
    with torch.inference_mode():
        pixels = found.module.prepare(torch.from_numpy(PICTURES))
        assert pixels.shape[2:] == (size, size)
        assert torch.allclose(found.module.network(pixels), network.eval()(pixels), atol=1e-5)


def test_a_vision_transformer_of_another_size_is_exported_to_onnx(tmp_path):
    settings = resolve_weights("test_vit", str(weights_of("test_vit", tmp_path)), 64)
    plain = load(settings)
    (tmp_path / "encoder.onnx").write_bytes(export(plain))
    found = load(settings, onnx=tmp_path / "encoder.onnx").encode(PICTURES).astype(float)
    assert np.abs(found - plain.encode(PICTURES).astype(float)).max() < 1e-2


@pytest.mark.parametrize(
    ("name", "size", "told", "fix"),
    [
        ("test_vit", 100, "test_vit: its patches have 16 pixels, and 100 is not a multiple", "96 or 112, or 0"),
        ("vit_base_patch32_224", 32, "vit_base_patch32_224: its patches have 32 pixels, and a frame needs two", "64"),
        ("levit_128s", 100, "levit_128s", "0 for the network's own 224"),
        ("inception_v3", 32, "inception_v3", "0 for the network's own 299"),
    ],
)
def test_a_size_that_does_not_fit_names_the_network_and_what_does(name, size, told, fix):
    with pytest.raises(ConfigError) as error:
        load(resolve_weights(name, "none", size))
    assert f"reward.image_size = {size} does not fit {told}" in error.value.message
    assert fix in error.value.fix


def test_the_networks_own_size_is_never_refused(monkeypatch):
    """SigLIP's So400m has 384 pixels and patches of 14: the last two rows and columns are not looked at."""
    monkeypatch.setattr("ml_backend.reward.encoder.own_size", lambda _name: 100)
    assert load(resolve_weights("vit_tiny_patch16_224", "none", 100)).settings.image_size == 100


def test_where_patches_overlap_any_size_fits():
    assert load(resolve_weights("pvt_v2_b0", "none", 64)).settings.image_size == 64


def test_weights_that_cannot_be_fitted_to_the_size_say_so(tmp_path):
    file = weights_of("levit_128s", tmp_path)
    assert load(resolve_weights("levit_128s", str(file))).size == 384
    with pytest.raises(ConfigError, match="are for its own size alone"):
        load(resolve_weights("levit_128s", str(file), 128))


def test_another_networks_weights_stay_a_broken_file_at_any_size(tmp_path):
    file = weights_of("resnet10t", tmp_path)
    with pytest.raises(DataError, match="not weights of resnet18"):
        load(resolve_weights("resnet18", str(file), 64))


@pytest.mark.parametrize("size", [8, 2000, -1])
def test_a_size_that_no_network_takes_is_refused_with_the_settings(tmp_path, size):
    file = Path(tmp_path / "robopref.toml")
    file.write_text(f"[reward]\nimage_size = {size}\n")
    with pytest.raises(ConfigError, match=f"reward.image_size: found {size}, expected 32 to 1024 pixels, or 0"):
        load_config(file)
