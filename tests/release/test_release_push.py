"""A release on the hub: where it is told to, private by default, whole or not at all, and once."""

import json
import re

import pytest
from hub_push_maker import TOKEN, Hub
from lerobot_plugin_maker import write_model

from preference.errors import DataError, UserError
from release.archive import write_sums
from release.hub import push_release

CARD = "---\npretty_name: Tiny\nlicense: apache-2.0\n---\n# Tiny\n"
ACCURACY = {"value": 0.8, "low": 0.7, "high": 0.9, "pairs": 60}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: TOKEN)
    for module in ("file_download", "utils._http", "constants"):
        monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    made = Hub()
    yield made
    made.stop()


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "robopref-tiny-1.0.0"
    write_model(folder)
    (folder / "expected.npz").rename(folder / "features.npz")
    (folder / "README.md").write_text(CARD)
    (folder / "LICENSE").write_text("the text")
    (folder / "inference.py").write_text("# scores\n")
    (folder / "validation.json").write_text(json.dumps({"ranking_accuracy": ACCURACY, "trusted": True}))
    write_sums(folder)
    return folder


def push(hub, folder, **options):
    return push_release(folder, endpoint=hub.url, **options)


def test_both_repositories_get_the_version_in_one_commit_and_a_tag(hub, release):
    found = push(hub, release, dataset="lab/tiny", model="lab/tiny-reward", gated="manual")
    assert (found.version, found.private, found.unchanged) == ("1.0.0", True, False)
    assert found.dataset == f"{hub.url}/datasets/lab/tiny" and found.model == f"{hub.url}/lab/tiny-reward"
    data, model = hub.repository("lab/tiny"), hub.repository("lab/tiny-reward", "model")
    assert data.private and model.private and data.gated == model.gated == "manual"
    assert data.commits == model.commits == ["Version 1.0.0"] and [*data.tags] == [*model.tags] == ["v1.0.0"]
    assert data.files == {p.relative_to(release).as_posix(): p.read_bytes() for p in release.rglob("*") if p.is_file()}
    assert model.files["model.safetensors"] == (release / "reward_model.safetensors").read_bytes()
    assert {"config.json", "inference.py", "SHA256SUMS", "LICENSE"} <= model.files.keys()
    card = model.files["README.md"].decode()
    assert "license: apache-2.0" in card and '- "lab/tiny"' in card and "0.80 (95 % interval 0.70 to 0.90)" in card


def test_the_model_card_is_what_the_hub_reads(hub, release):
    from huggingface_hub import ModelCard

    push(hub, release, model="lab/tiny-reward")
    card = ModelCard(hub.repository("lab/tiny-reward", "model").files["README.md"].decode())
    assert card.data.license == "apache-2.0" and card.data.library_name == "lerobot"
    assert card.data.pipeline_tag == "robotics" and not card.data.datasets


def test_what_the_next_version_does_not_have_goes_and_what_others_put_there_stays(hub, release):
    push(hub, release, dataset="lab/tiny")
    hub.repositories["dataset", "lab/tiny"]["files"]["NOTES.md"] = b"of the lab"
    (release / "__pycache__").mkdir()
    (release / "__pycache__" / "inference.pyc").write_bytes(b"made here, listed nowhere")
    (release / "LICENSE").unlink()
    path = release / "config.json"
    path.write_text(path.read_text().replace("1.0.0", "1.1.0"))
    write_sums(release)
    push(hub, release, dataset="lab/tiny")
    files = hub.repository("lab/tiny").tags["v1.1.0"]
    assert "LICENSE" not in files and "NOTES.md" in files and not [name for name in files if "__pycache__" in name]
    assert "LICENSE" in hub.repository("lab/tiny").tags["v1.0.0"]


def test_again_changes_nothing_and_other_contents_are_refused(hub, release):
    push(hub, release, dataset="lab/tiny")
    assert push(hub, release, dataset="lab/tiny").unchanged
    assert hub.repository("lab/tiny").commits == ["Version 1.0.0"]
    (release / "LICENSE").write_text("another text")
    write_sums(release)
    with pytest.raises(UserError, match=r"lab/tiny has v1\.0\.0 already, with other contents"):
        push(hub, release, dataset="lab/tiny")


def test_a_push_that_fails_leaves_no_half_version_and_goes_on_later(hub, release):
    hub.failing = {"/commit/"}
    with pytest.raises(UserError, match=r"The hub failed at lab/tiny \(500\).*Run it again"):
        push(hub, release, dataset="lab/tiny", model="lab/tiny-reward")
    for kind, name in (("dataset", "lab/tiny"), ("model", "lab/tiny-reward")):
        assert hub.repository(name, kind).files == {} and hub.repository(name, kind).tags == {}
    sent = sum(path.startswith("/lfs/put/") for _, path in hub.asked)
    assert sent, "large files were sent before the commit"
    hub.failing = set()
    push(hub, release, dataset="lab/tiny", model="lab/tiny-reward")
    assert sum(path.startswith("/lfs/put/") for _, path in hub.asked) == sent, "and are not sent twice"
    assert hub.repository("lab/tiny-reward", "model").tags.keys() == {"v1.0.0"}


def test_what_is_refused_is_refused_before_the_first_file(hub, release, monkeypatch):
    hub.repositories["dataset", "lab/open"] = {"private": False, "gated": False, "files": {}, "commits": [], "tags": {}}
    for options, words in (
        ({}, "No repository is named"),
        ({"dataset": "lab/open"}, r"lab/open is public, but this release is to be private.*--public"),
        ({"dataset": "lab/tiny", "model": "forbidden/x"}, r"refuses this token for forbidden/x \(403\)"),
        ({"dataset": "no name/at all"}, "is not the name of a repository"),
    ):
        with pytest.raises(UserError, match=words):
            push(hub, release, **options)
    assert not [path for _, path in hub.asked if "/commit/" in path or "/lfs/" in path]
    with pytest.raises(UserError, match="cannot be reached"):
        push_release(release, dataset="lab/tiny", endpoint="http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: " ")
    with pytest.raises(UserError, match=r"no Hugging Face token.*HF_TOKEN"):
        push(hub, release, dataset="lab/tiny")
    for token in ("hf_é", "hf_a\x00b"):
        monkeypatch.setattr("huggingface_hub.get_token", lambda token=token: token)
        with pytest.raises(UserError, match=r"token has characters that none can have.*HF_TOKEN"):
            push(hub, release, dataset="lab/tiny")


def test_a_card_that_the_hub_does_not_take_is_refused_before_either_repository_gets_a_file(hub, release):
    for part, words in (
        ("pretty_name", r"card of lab/tiny: \"license\" must be one of.*release\.license"),
        ("library_name", "card of lab/tiny-reward: "),
    ):
        hub.invalid = {part: '"license" must be one of'}
        with pytest.raises(UserError, match=words):
            push(hub, release, dataset="lab/tiny", model="lab/tiny-reward")
    assert not [path for _, path in hub.asked if "/commit/" in path or "/lfs/" in path]
    assert not hub.repository("lab/tiny").files and not hub.repository("lab/tiny-reward", "model").files


def test_the_model_card_names_its_license_and_says_who_answered(hub, release):
    mine = 'license: other\nlicense_name: "LicenseRef-Lab"\nlicense_link: LICENSE\n'
    for version, kinds in (("1.0.0", ("expert",)), ("1.1.0", ("machine",)), ("1.2.0", ("machine", "expert"))):
        path = release / "config.json"
        path.write_text(re.sub(r"1\.\d\.0", version, path.read_text()))
        listed = "".join(f"- {kind}-generated\n" for kind in kinds)
        (release / "README.md").write_text(f"---\n{mine}annotators:\n{listed}---\n# Tiny\n")
        write_sums(release)
        push(hub, release, model="lab/tiny-reward")
        card = hub.repository("lab/tiny-reward", "model").files["README.md"].decode()
        assert mine in card and 'from_pretrained("lab/tiny-reward")' in card
        assert ("human-preferences" in card) is ("expert" in kinds)
        assert ("**No person answered.**" in card) is (kinds == ("machine",))
        assert ("simulated annotators'" in card) is ("machine" in kinds) and ("people's" in card) is ("expert" in kinds)


def test_a_release_that_is_not_whole_is_never_sent(hub, release, tmp_path):
    (release / "LICENSE").write_text("changed")
    with pytest.raises(DataError, match="is not as it was released: LICENSE"):
        push(hub, release, dataset="lab/tiny")
    with pytest.raises(DataError, match="is not a folder"):
        push(hub, tmp_path / "robopref-tiny-1.0.0.tar.gz", dataset="lab/tiny")
    assert hub.asked == []


def test_it_is_public_only_when_told(hub, release):
    push(hub, release, dataset="lab/tiny", private=False)
    assert not hub.repository("lab/tiny").private
