"""The rehearsal reads compose.yaml as Docker does."""

import importlib.util
import sys

import pytest
from paths import ROOT


@pytest.fixture(scope="module")
def compose_file():
    place = ROOT / "scripts" / "rehearsal" / "compose_file.py"
    spec = importlib.util.spec_from_file_location("compose_file", place)
    module = sys.modules["compose_file"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_services_come_after_those_that_they_wait_for(compose_file):
    services, _ = compose_file.load(ROOT / "compose.yaml", {"LABEL_STUDIO_USERNAME": "a@b.example"})
    order = list(services)
    for name, service in services.items():
        assert all(order.index(other) < order.index(name) for other in service.waits_for), name


def test_variables_have_their_value_or_their_default_or_their_message(compose_file):
    told = {"LABEL_STUDIO_USERNAME": "a@b.example", "ROBOPREF_PUBLIC_URL": "https://x.example"}
    services, _ = compose_file.load(ROOT / "compose.yaml", told)
    environment = services["label-studio"].environment
    assert environment["ROBOPREF_PUBLIC_URL"] == "https://x.example"
    assert environment["ROBOPREF_BACKEND_SUBNETS"] == "127.0.0.0/8,172.31.250.0/24"
    with pytest.raises(SystemExit, match=r"LABEL_STUDIO_USERNAME: set it in \.env"):
        compose_file.load(ROOT / "compose.yaml", {})


def test_mounts_and_checks_are_what_compose_says(compose_file):
    services, _ = compose_file.load(ROOT / "compose.yaml", {"LABEL_STUDIO_USERNAME": "a@b.example"})
    (clips,) = (mount for mount in services["label-studio"].mounts if mount.below)
    assert (clips.source, clips.target, clips.read_only, clips.below) == ("work", "/data/work/clips", True, "clips")
    project = services["worker"].mounts[0]
    assert (project.source, project.is_volume, project.read_only) == ("./project", False, True)
    assert services["backend"].check == ["robopref", "health", "service"] and services["migrate"].ends
    assert services["backend"].aliases == ["backend.internal"] and services["worker"].stop_signal == "SIGINT"
