"""Dockerfile and compose.yaml name only files, commands and variables that exist; the wheel works by itself."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main
import yaml
from paths import ROOT

from preference.config_file import ENVIRONMENT
from robopref.cli import app

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = COMPOSE["services"]


def test_the_dockerfile_copies_files_that_exist_and_every_package():
    copied = [word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.M) for word in line.split()[:-1]]
    assert [word for word in copied if not (ROOT / word).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(copied)
    assert {"pyproject.toml", "constraints.txt", project["project"]["readme"]} <= set(copied)


def test_the_services_run_commands_that_exist():
    commands = set(typer.main.get_command(app).commands)
    for name, service in SERVICES.items():
        command = service.get("command")
        if command and command[0] == "robopref":
            assert command[1] in commands, name
        elif command:
            assert shutil.which(command[0], path=Path(sys.executable).parent), name


def test_our_variables_are_those_that_the_configuration_reads():
    for name in ("backend", "worker"):
        ours = {key for key in SERVICES[name]["environment"] if key.startswith("ROBOPREF_")}
        assert ours <= set(ENVIRONMENT), name
        assert len(ours) >= 6


def test_label_studios_variables_are_read_by_its_source():
    label_studio = pytest.importorskip("label_studio", reason="needs `pip install robopref[studio]`")
    folder = Path(label_studio.__file__).parent
    files = [folder / "server.py", *(folder / "core").rglob("*.py"), *(ROOT / "labeling_config/plugin").rglob("*.py")]
    source = "\n".join(path.read_text(errors="replace") for path in files)
    for variable in SERVICES["label-studio"]["environment"]:
        names = (variable, variable.removeprefix("LABEL_STUDIO_"))
        known = any(quoted in source for name in names for quoted in (f"'{name}'", f'"{name}"'))
        assert variable == "DJANGO_SETTINGS_MODULE" or known, variable


def test_the_plugins_settings_module_exists():
    module = SERVICES["label-studio"]["environment"]["DJANGO_SETTINGS_MODULE"]
    assert (ROOT / (module.replace(".", "/") + ".py")).exists()


def test_volumes_and_dependencies_are_declared():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"], name
        assert set(service.get("depends_on", ())) <= set(SERVICES), name


def test_the_image_can_write_to_its_volumes():
    """Docker gives a new volume the owner of the image's folder in its place; one that is not there is root's."""
    made = re.search(r"install --directory --owner robopref (.+)", DOCKERFILE)[1].split()
    places = {
        volume.split(":")[1] for name, service in SERVICES.items() if name != "db" for volume in service["volumes"]
    }
    assert places <= set(made)
    assert set(json.loads(re.search(r"^VOLUME (.+)$", DOCKERFILE, re.M)[1])) == places


def test_the_image_brings_the_clients_of_the_servers_version():
    server = re.fullmatch(r"postgres:(\d+)", SERVICES["db"]["image"])[1]
    assert re.findall(r"postgresql-client-(\d+)", DOCKERFILE) == [server]
    assert "trixie" in DOCKERFILE.splitlines()[1] and server == "17", "the version that Debian 13 has"


def test_the_readme_names_every_secret_that_compose_asks_for():
    needed = set(re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text()))
    readme = (ROOT / "README.md").read_text()
    assert {name for name in needed if name not in readme} == set()


def test_the_wheel_has_every_file_that_the_packages_need(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    rooms = ("preference/", "labeling_config/", "importer/", "qc_reports/", "ml_backend/", "robopref/")
    assert [name for name in tracked if name.startswith(rooms) and not (site / name).exists()] == []
    run = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import robopref.cli as c; "
         "assert c.__file__.startswith(sys.argv[1]), c.__file__; sys.argv = ['robopref', '--help']; c.app()",
         str(site)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "certify" in run.stdout
