"""Weights from a file: what is assumed of their preprocessing is said, and what is certainly wrong refused."""

import json
from dataclasses import replace

import pytest
import timm

from ml_backend.loop.features import assumed
from ml_backend.reward.encoder_weights import assumed_preprocessing, resolve_weights
from preference.errors import ConfigError
from preference.workspace import Workspace
from robopref.doctor import examine

NAME, OTHER = "vit_small_patch16_224", "vit_small_patch16_224.dino"


@pytest.fixture
def file(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    return tmp_path / "weights.pt"


def hub_says(file, name, **other):
    """config.json as timm writes it for the hub."""
    known = timm.get_pretrained_cfg(name)
    assert known is not None
    cfg = known.to_dict() | other
    (file.parent / "config.json").write_text(
        json.dumps({"architecture": name.partition(".")[0], "pretrained_cfg": cfg})
    )


def test_what_is_assumed_is_named_with_the_name_that_would_say_otherwise(file):
    told = assumed_preprocessing(resolve_weights(NAME, str(file)))
    assert (
        "weights.pt" in told and "mean 0.5 0.5 0.5, standard deviation 0.5 0.5 0.5, bicubic, here at 224 pixels" in told
    )
    assert OTHER in told
    assert "mean 0.485 0.456 0.406" in assumed_preprocessing(resolve_weights(OTHER, str(file)))


def test_nothing_is_assumed_where_config_json_says_the_same(file):
    hub_says(file, NAME)
    assert assumed_preprocessing(resolve_weights(NAME, str(file))) == ""
    assert assumed_preprocessing(replace(resolve_weights(NAME, str(file)), weights="imagenet")) == ""


def test_another_preprocessing_is_refused_with_the_name_that_has_it(file):
    hub_says(file, OTHER)
    with pytest.raises(ConfigError, match=r"trained with mean 0.485 .* timm has mean 0.5") as error:
        assumed_preprocessing(resolve_weights(NAME, str(file)))
    assert error.value.fix == f'Set reward.encoder = "{OTHER}".'
    assert assumed_preprocessing(resolve_weights(OTHER, str(file))) == ""


def test_one_that_timm_has_under_no_name_is_refused(file):
    hub_says(file, NAME, mean=(0.1, 0.2, 0.3))
    with pytest.raises(ConfigError, match=r"mean 0.1 0.2 0.3"):
        assumed_preprocessing(resolve_weights(NAME, str(file)))


def test_another_network_is_refused(file):
    hub_says(file, "resnet18")
    with pytest.raises(ConfigError, match="is of resnet18, not of vit_small_patch16_224"):
        assumed_preprocessing(resolve_weights(NAME, str(file)))


def test_another_size_is_said_unless_a_size_was_chosen(file):
    hub_says(file, NAME, input_size=(3, 384, 384))
    told = assumed_preprocessing(resolve_weights(NAME, str(file)))
    assert "trained at 384 pixels, and frames have 224" in told
    assert assumed_preprocessing(resolve_weights(NAME, str(file), 384)) == ""


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"pretrained_cfg": {"mean": "x", "std": 3}}', '{"pretrained_cfg": 3}']
)
def test_a_config_json_of_something_else_says_nothing(file, text):
    (file.parent / "config.json").write_text(text)
    assert "Nothing beside" in assumed_preprocessing(resolve_weights(NAME, str(file)))


def test_an_encoder_that_was_tuned_here_needs_no_word(tmp_path):
    (tmp_path / "robopref.toml").write_text("")
    ws = Workspace.open(tmp_path / "robopref.toml")
    (ws.root / "encoders").mkdir(parents=True)
    (ws.root / "encoders" / "tuned.pt").write_bytes(b"weights")
    assert assumed(ws, resolve_weights(NAME, str(ws.root / "encoders" / "tuned.pt"))) == ""
    assert assumed(ws, None) == ""


def test_the_doctor_says_the_size_and_what_is_slow_assumed_or_wrong(tmp_path, monkeypatch):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    monkeypatch.setattr("robopref.doctor._label_studio", lambda _: ())
    monkeypatch.setattr("robopref.doctor._backend", lambda _: ())

    def findings(**settings):
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (tmp_path / "robopref.toml").write_text("\n".join(["[reward]", *lines]))
        return {found.what: (found.level, found.fix) for found in examine(tmp_path / "robopref.toml")}

    assert findings()["Encoder resnet18: frames are resized to 224 x 224 pixels."] == ("good", "")
    slow = findings(encoder="vit_small_patch14_dinov2")
    (level, fix) = slow["vit_small_patch14_dinov2 encodes 518 x 518 pixels, which is slow on a CPU."]
    assert level == "note" and "reward.image_size" in fix
    smaller = findings(encoder="vit_small_patch14_dinov2", image_size=224)
    assert smaller["Encoder vit_small_patch14_dinov2: frames are resized to 224 x 224 pixels."] == ("good", "")
    assert not any("slow" in what for what in smaller)
    wrong = findings(encoder="test_vit", image_size=100)
    assert any(level == "bad" and "100 does not fit test_vit" in what for what, (level, _) in wrong.items())
    said = findings(encoder="test_vit", weights="weights.pt")
    assert any(level == "note" and "Nothing beside weights.pt" in what for what, (level, _) in said.items())
