"""ONNX Runtime gives the features of torch, and every way of encoding fills one cache."""

import functools
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from lerobot_maker import Made, make_dataset

from importer.pool.build import build_pool
from ml_backend.loop import features as encoding
from ml_backend.loop.features import encode_pool
from ml_backend.loop.spec import describe
from ml_backend.reward import encoder
from ml_backend.reward.encoder import load
from ml_backend.reward.encoder_weights import resolve_weights
from ml_backend.reward.features import read_features, write_features
from preference.errors import DataError, UserError
from preference.work import Workers, parallel_map
from preference.workspace import Workspace

CONFIG = """
workers = 2
[[pool.dataset]]
path = "data"
name = "tiny"
[reward]
weights = "none"
encoder = "test_resnet"
sample_fps = 2.0
"""
PICTURES = np.random.default_rng(0).integers(0, 255, (3, 60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoding")
    make_dataset(folder / "data", [Made(rows=40 + 4 * i, still=10) for i in range(4)])
    (folder / "robopref.toml").write_text(CONFIG)
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    yield ws
    ws.store.close()


def elsewhere(ws, folder):
    """The same pool with an empty cache."""
    other = Workspace(ws.config.model_copy(update={"work": folder}))
    other.store = ws.store
    return other


@functools.cache
def exported(name):
    """The network as ONNX; making it takes two seconds."""
    return encoder.export(load(resolve_weights(name, "none")))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_onnx_runtime_gives_the_features_of_torch_to_a_thousandth(tmp_path, name):
    settings = resolve_weights(name, "none")
    plain = load(settings)
    (tmp_path / "encoder.onnx").write_bytes(exported(name))
    expected = plain.encode(PICTURES).astype(float)
    found = load(settings, onnx=tmp_path / "encoder.onnx").encode(PICTURES).astype(float)
    assert np.abs(found - expected).max() < 1e-3 * expected.std()


def test_a_convolutional_network_is_exported_once_and_never_for_a_few_frames(tmp_path, monkeypatch):
    settings = resolve_weights("test_resnet", "none")
    assert encoder.onnx_file(settings, tmp_path, frames=10) is None
    assert list(tmp_path.iterdir()) == []
    graph, exports = exported("test_resnet"), []
    monkeypatch.setattr(encoder, "export", lambda given: exports.append(given) or graph)
    first = encoder.onnx_file(settings, tmp_path, frames=10_000)
    assert first is not None
    assert encoder.onnx_file(settings, tmp_path, frames=10) == first
    assert len(exports) == 1
    assert encoder.onnx_file(resolve_weights("test_vit", "none"), tmp_path, frames=10_000) is None
    first.write_bytes(first.read_bytes()[:100])
    with pytest.raises(DataError, match=r"\.onnx is broken"):
        load(settings, onnx=first)


def test_a_network_whose_export_gives_other_features_runs_in_torch(tmp_path, monkeypatch):
    settings = resolve_weights("test_resnet", "none")
    other = encoder.export(load(replace(settings, weights=str(weights_of("test_resnet", tmp_path)))))
    monkeypatch.setattr(encoder, "export", lambda _: other)
    assert encoder.onnx_file(settings, tmp_path / "onnx", frames=10_000) is None
    assert not (tmp_path / "onnx").exists()


def weights_of(name, folder):
    """A file of random weights that are not those of `none`."""
    torch.manual_seed(1)
    torch.save(timm.create_model(name, pretrained=False).state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def test_a_gpus_way_of_encoding_gives_the_same_features(ws, tmp_path, monkeypatch):
    """On the CPU in its place: processes read, this one encodes."""
    trajectories = ws.store.trajectories()
    expected = encode_pool(ws, trajectories)
    monkeypatch.setattr(encoding, "_has_gpu", lambda: True)
    monkeypatch.setattr("ml_backend.reward.encoder.Encoder.to", lambda self, device: self)
    found = encode_pool(elsewhere(ws, tmp_path), trajectories)
    assert found.encoded == 4
    for name in expected:
        assert np.array_equal(found[name].frames, expected[name].frames)


@pytest.fixture
def ray():
    """Of one core: each has a process, and each process loads PyTorch."""
    ray = pytest.importorskip("ray", reason="pip install 'robopref[scale]'")
    ray.init(num_cpus=1, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("ray")
def test_features_made_on_ray_are_the_same(ws, tmp_path, monkeypatch):
    trajectories = ws.store.trajectories()
    expected = encode_pool(ws, trajectories)
    monkeypatch.setattr(encoding, "IN_PROCESS", 0)
    on_ray = Workspace(ws.config.model_copy(update={"work": tmp_path, "executor": "ray"}))
    on_ray.store = ws.store
    found = encode_pool(on_ray, trajectories)
    assert found.encoded == 4
    for name in expected:
        assert np.array_equal(found[name].frames, expected[name].frames)


def test_writers_of_one_cache_do_not_disturb_each_other(ws, tmp_path):
    """Several processes encode the same trajectories into the same folder at the same time."""
    trajectories = ws.store.trajectories()
    expected = encode_pool(ws, trajectories)
    other = elsewhere(ws, tmp_path)
    from ml_backend.loop.features import plan

    jobs, _ = plan(trajectories, ws.config.pool, ws.config.reward, expected.encoder, other.features)
    read = encoding._Read(ws.config.pool, ws.config.reward, pictures=True)
    task = encoding._Encode(read, expected.encoder, None, threads=1)
    results = [result for _, result in parallel_map(task, jobs * 3, workers=Workers(2), description="Writing")]
    assert results == [None] * 12
    assert sorted(path.suffix for path in other.features.iterdir()) == [".npy"] * 4
    found = encode_pool(other, trajectories)
    assert found.encoded == 0
    assert all(np.array_equal(found[name].frames, expected[name].frames) for name in expected)


def test_the_simulators_success_decides_nothing_of_what_the_model_sees(ws):
    pool = ws.store.trajectories()
    blind = [replace(t, success=None, end_s=t.num_frames / t.fps) for t in pool]
    cut = [replace(t, success=True, end_s=t.start_s + 1.0) for t in pool]
    store, other = encode_pool(ws, blind), encode_pool(ws, cut)
    assert store.paths == other.paths and other.encoded == 0
    for t in pool:
        seconds = t.num_frames / t.fps - t.start_s
        assert len(store[t.trajectory_id]) == pytest.approx(2.0 * seconds, abs=1.01)


def test_cached_features_are_half_precision_and_memory_mapped(ws):
    store = encode_pool(ws, ws.store.trajectories())
    features = store[next(iter(store))]
    assert features.frames.dtype == np.float16
    assert isinstance(features.frames, np.memmap)


def test_a_finished_feature_file_is_opened_once_to_describe_and_place_a_pool(ws, monkeypatch):
    pool = ws.store.trajectories()
    encode_pool(ws, pool)
    opened = []
    monkeypatch.setattr(Path, "open", lambda path, *how, own=Path.open: (opened.append(path), own(path, *how))[1])
    store = encode_pool(ws, pool)
    described = describe(ws, store, pool)
    placed = store.placed(described.layout, pool)
    assert store.encoded == 0 and len(placed) == len(pool)
    files = [path for path in opened if path.suffix == ".npy"]
    assert sorted(files) == sorted(store.paths.values())


def test_a_full_disk_is_one_clear_message(ws, tmp_path, monkeypatch):
    store = encode_pool(ws, ws.store.trajectories())
    features = read_features(next(iter(store.paths.values())))

    def full(self, _):
        with Path("/dev/full").open("wb", buffering=0) as device:
            device.write(b"x")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on the disk"):
        write_features(features, tmp_path / "features.npy")
    assert list(tmp_path.iterdir()) == []
