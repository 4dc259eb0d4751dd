"""Dockerfile and compose.yaml name only what exists, and what a careful administrator asks of them; the wheel is whole.

Read, not run: `scripts/rehearse_install` runs them, and takes too long for every change.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import psycopg
import pytest
import typer.main
import yaml
from packaging.specifiers import SpecifierSet
from paths import ROOT
from process_maker import until

from labeling_config import STUDIO_VERSION, server
from labeling_config.plugin import subnets
from preference.config_file import ENVIRONMENT, PASSWORD, STUDIO_DATA, STUDIO_DATABASE, STUDIO_PASSWORD
from robopref.cli import app

TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"] == "robopref"}
STUDIOS = {name: one for name, one in SERVICES.items() if one["image"] == "robopref-label-studio"}
BETWEEN = re.compile(r"\$\{(\w+)")
ROOMS = {"preference", "labeling_config"}


def stage(name: str) -> str:
    """The lines of one image, with those of what it is made from."""
    base, *others = re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]
    return base + next(part for part in others if f"AS {name}\n" in part)


def target(volume: str | dict) -> str:
    return volume["target"] if isinstance(volume, dict) else re.sub(r"\$\{[^}]*\}", "x", volume).split(":")[1]


def test_the_images_copy_files_that_exist_and_no_secret():
    copied = [word for line in re.findall(r"^COPY ([^-].+)$", DOCKERFILE, re.M) for word in line.split()[:-1]]
    assert [word for word in copied if not (ROOT / word).exists()] == []
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert {word.split("/")[0] for word in copied} == set(allowed)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(packages["packages"]) <= set(copied)
    assert {"pyproject.toml", "constraints.txt", "README.md"} <= set(copied)


def test_code_is_copied_after_what_it_needs_was_installed():
    for name in ("label-studio", "robopref"):
        assert stage(name).rindex("pip install --constraint") < stage(name).index("COPY preference")


def test_label_studios_image_has_what_the_plugin_imports_and_no_torch():
    wanted = subprocess.run(
        [sys.executable, ROOT / "deploy" / "requirements.py", "label-studio"],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": ""}, cwd=ROOT,
    )  # fmt: skip
    assert wanted.returncode == 2 or wanted.returncode == 1, "it reads pyproject.toml beside itself, as in the image"
    needed = _imported("labeling_config.server", "labeling_config.plugin.urls", "labeling_config.plugin.settings")
    brought = {"django", "rest_framework", "rules", "label_studio", "core", "users", "projects", "tasks", "io_storages"}
    names = {one.replace("markdown-it-py", "markdown_it") for one in _requirements().PLUGIN}
    assert needed - brought - {"data_manager"} <= names | {"filelock"}, "deploy/requirements.py: PLUGIN"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = _requirements().requirements("label-studio", project)
    assert f"label-studio=={STUDIO_VERSION}" in lines and any(line.startswith("gunicorn") for line in lines)
    assert not any("torch" in line or line.startswith("scipy") for line in lines)
    others = _requirements().requirements("robopref", project)
    assert not any(re.match(r"torch|label-studio[=>]", line) for line in others), others
    readers = {*project["optional-dependencies"]["mcap"], *project["optional-dependencies"]["s3"]}
    assert readers <= set(others), "its files are read-only: nothing can be installed later"


def _requirements():
    import importlib.util

    spec = importlib.util.spec_from_file_location("requirements", ROOT / "deploy" / "requirements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _imported(*modules: str) -> set[str]:
    """The packages of others that `modules` import, and what they import of ours."""
    found, seen, ahead = set(), set(), [*modules, *(f"labeling_config.plugin.{p.stem}" for p in _plugin())]
    while ahead:
        name = ahead.pop()
        path = ROOT / Path(*name.split(".")).with_suffix(".py")
        path = path if path.exists() else path.with_suffix("") / "__init__.py"
        if name in seen or not path.exists():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            ahead += [one for one in names if one.split(".")[0] in ROOMS]
            found |= {one.split(".")[0] for one in names}
    return found - ROOMS - set(sys.stdlib_module_names)


def _plugin() -> list[Path]:
    return sorted((ROOT / "labeling_config" / "plugin").glob("*.py"))


def test_the_services_run_commands_that_exist():
    commands = set(typer.main.get_command(app).commands)
    for name, service in OURS.items():
        words = [*service.get("entrypoint", []), *service["command"]]
        assert words[0] == "robopref" and words[1] in commands, name
        check = service.get("healthcheck", {}).get("test", ["CMD", "robopref", "health"])
        assert check[:3] == ["CMD", "robopref", "health"], name
    for name, service in STUDIOS.items():
        assert service["command"][:3] == ["python", "-m", "labeling_config.server"], name
        assert hasattr(server, service["command"][3]), name


def test_our_variables_are_those_that_the_configuration_reads():
    known = {*ENVIRONMENT, PASSWORD, STUDIO_DATA, STUDIO_DATABASE, STUDIO_PASSWORD}
    for name, service in OURS.items():
        ours = {key.removesuffix("_FILE") for key in service["environment"]}
        assert ours <= known, name
        assert len(ours) >= 6


def test_label_studios_variables_are_read_by_its_source():
    label_studio = pytest.importorskip("label_studio", reason="needs `pip install robopref[studio]`")
    folder = Path(label_studio.__file__).parent
    files = [folder / "server.py", *(folder / "core").rglob("*.py"), ROOT / "labeling_config/server.py", *_plugin()]
    source = "\n".join(path.read_text(errors="replace") for path in files)
    for variable in SERVICES["label-studio"]["environment"]:
        name = variable.removesuffix("_FILE")
        names = (name, name.removeprefix("LABEL_STUDIO_"))
        known = any(quoted in source for name in names for quoted in (f"'{name}'", f'"{name}"'))
        assert variable == "DJANGO_SETTINGS_MODULE" or known, variable


def test_every_secret_comes_from_a_file_that_the_service_gets():
    for name, service in SERVICES.items():
        for variable, value in service["environment"].items():
            secret = re.search("PASSWORD|SECRET|TOKEN", variable) and "ENABLE" not in variable
            assert bool(secret) == str(value).startswith("/run/secrets/"), f"{name}: {variable}"
            if secret:
                assert variable.endswith("_FILE") and Path(value).name in service["secrets"], f"{name}: {variable}"
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
    made = (ROOT / "deploy" / "secrets.sh").read_text()
    assert [name for name in COMPOSE["secrets"] if name not in made] == []


def test_the_secrets_that_the_script_makes_are_kept_and_fit(tmp_path):
    for _ in range(2):
        subprocess.run([ROOT / "deploy" / "secrets.sh", tmp_path / "secrets"], check=True, stdout=subprocess.DEVNULL)
        made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"]) and len(set(made.values())) == len(made)
    assert re.fullmatch("[0-9a-f]{40}", made["label_studio_token"])
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    before = made["webhook_secret"]
    subprocess.run([ROOT / "deploy" / "secrets.sh", tmp_path / "secrets"], check=True)
    assert (tmp_path / "secrets" / "webhook_secret").read_text() == before


def test_every_setting_of_compose_is_explained_and_has_a_default_or_a_message():
    example = (ROOT / ".env.example").read_text()
    names = set(BETWEEN.findall(TEXT))
    assert {name for name in names if not re.search(rf"^#?{name}=", example, re.M)} == set()
    assert re.findall(r"\$\{\w+\}", TEXT) == [], "neither a default nor a message"
    caddy = set(re.findall(r"\{\$(\w+)", (ROOT / "deploy" / "Caddyfile").read_text()))
    assert caddy <= set(SERVICES["proxy"]["environment"])


def test_nothing_runs_as_root_or_writes_outside_its_volumes():
    for name, service in SERVICES.items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service["image"].startswith("postgres"):
            assert service["user"] == "postgres"
    for name in ("label-studio", "robopref"):
        assert re.search(r"^USER robopref$", stage(name), re.M), name
    assert re.search(r"^USER 1000", (ROOT / "deploy" / "proxy.Dockerfile").read_text(), re.M)


def test_what_goes_on_has_a_health_check_and_what_ends_is_waited_for():
    for name, service in SERVICES.items():
        ends = service["restart"] == "no"
        assert ends or "healthcheck" in service, name
        assert service["logging"]["options"]["max-size"], name
        for other, how in service.get("depends_on", {}).items():
            once = SERVICES[other]["restart"] == "no"
            wanted = "service_completed_successfully" if once else "service_healthy"
            assert how["condition"] == wanted, f"{name} waits for {other}"


def test_volumes_are_declared_and_the_images_own_their_places():
    """Docker gives a new volume the owner of the image's folder in its place; one that is not there is root's."""
    for services, image in ((STUDIOS, "label-studio"), (OURS, "robopref")):
        made = {
            word for line in re.findall(r"--owner robopref --group robopref ([^&\n]+(?:\n    [^\n]+)*)", stage(image))
            for word in line.replace("\\", " ").split()
        }  # fmt: skip
        for name, service in services.items():
            outside = [target(one) for one in service["volumes"] if target(one) != "/datasets"]
            assert set(outside) <= made, name
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            assert source.startswith(("./", "$")) or source in COMPOSE["volumes"], name


def test_label_studio_sees_the_clips_alone_and_cannot_change_them():
    for service in STUDIOS.values():
        (clips,) = (one for one in service["volumes"] if isinstance(one, dict))
        assert clips["read_only"] is True and clips["volume"] == {"subpath": "clips"}
        root = service["environment"]["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"]
        assert target(clips) == f"{root}/clips"
        assert SERVICES["worker"]["environment"]["ROBOPREF_WORK"] == root, "both name the clips alike"


def test_each_has_a_database_and_a_role_of_its_own():
    ours, studios = SERVICES["worker"]["environment"], SERVICES["label-studio"]["environment"]
    assert ours["ROBOPREF_DATABASE_URL"] == "postgresql://robopref@db/robopref"
    assert (studios["POSTGRE_USER"], studios["POSTGRE_NAME"]) == ("label_studio", "label_studio")
    assert "robopref_database_password" not in SERVICES["label-studio"]["secrets"]
    assert all("_database_password" in name for name in SERVICES["backup"]["secrets"]), "it calls nobody else"
    assert "label_studio_database_password" not in SERVICES["worker"]["secrets"]
    assert "for who in robopref label_studio" in (ROOT / "deploy" / "roles.sh").read_text()


@pytest.fixture
def strict(postgres):
    """A server's administrator who has to give a password, as `label_studio` has to."""
    with psycopg.connect(f"postgresql://{postgres}/postgres", autocommit=True) as admin:
        admin.execute("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'first'")
        rules = Path(admin.execute("SHOW hba_file").fetchone()[0])
        usual = rules.read_text()
        rules.write_text(f"host all keeper,label_studio all scram-sha-256\n{usual}")
        admin.execute("SELECT pg_reload_conf()")
        host, port = postgres.partition("@")[2].split(":")
        yield {"PGUSER": "keeper", "PGHOST": host, "PGPORT": port, "PGDATABASE": "postgres"}
        rules.write_text(usual)
        admin.execute("SELECT pg_reload_conf()")
        for name in ("robopref", "label_studio"):
            admin.execute(f"DROP DATABASE IF EXISTS {name}")
        admin.execute("DROP ROLE IF EXISTS label_studio, keeper")


def test_roles_take_any_password_and_name_the_secret_that_the_database_refuses(strict, tmp_path):
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed; Debian has it in the package postgresql-client")
    password = "p@ss:w/%#rd ?&é'\"\\"

    def roles(given):
        (tmp_path / "postgres_password").write_text(given)
        for name in ("robopref", "label_studio"):
            (tmp_path / f"{name}_database_password").write_text(f"{password}\n", encoding="utf-8")
        environment = {"PATH": os.environ["PATH"], "SECRETS": str(tmp_path), **strict}
        script = ["sh", str(ROOT / "deploy" / "roles.sh")]
        return subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=60)

    until(lambda: roles("second").returncode)  # the server reads its rules again in its own time
    refused = roles("second")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "roles: the database refuses secrets/postgres_password: it keeps the one of its first start."
    ]
    for _ in range(2):
        assert roles("first").returncode == 0
    there = f"host={strict['PGHOST']} port={strict['PGPORT']} dbname=label_studio user=label_studio"
    psycopg.connect(there, password=password).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(there, password="first")


def test_the_backends_network_is_told():
    (subnet,) = (one["subnet"] for one in COMPOSE["networks"]["inside"]["ipam"]["config"])
    allowed = SERVICES["label-studio"]["environment"]["ROBOPREF_BACKEND_SUBNETS"]
    assert allowed == f"127.0.0.0/8,{subnet}"
    default = re.search(r":-([^}]+)\}", subnet)[1]
    assert "10.0.0.0/8" in subnets.banned(["127.0.0.0/8", default]) and default not in subnets.banned([default])


def test_label_studio_accepts_the_backends_address():
    """Django's check of an address wants a dot in a host that is not localhost; `http://backend:9090` is refused."""
    core = pytest.importorskip("django.core.validators", reason="needs `pip install robopref[studio]`")
    for name, service in {**OURS, **STUDIOS}.items():
        if url := service["environment"].get("ROBOPREF_SERVICE_URL"):
            core.URLValidator()(f"{url}/webhook")
            host = re.fullmatch(r"http://([\w.]+):9090", url)[1]
            assert host in SERVICES["backend"]["networks"]["inside"]["aliases"], name


def test_the_image_brings_the_clients_of_the_servers_version():
    server_version = re.fullmatch(r"postgres:(\d+)", SERVICES["db"]["image"])[1]
    assert re.findall(r"postgresql-client-(\d+)", DOCKERFILE) == [server_version]
    assert "trixie" in stage("robopref").splitlines()[0] and server_version == "17", "the version that Debian 13 has"


def test_the_guide_names_every_command_and_file_that_it_needs():
    guide = (ROOT / "docs" / "install.md").read_text()
    for word in ("deploy/secrets.sh", ".env.example", "scripts/rehearse_install", "robopref backup", "restore"):
        assert word in guide, word


def test_the_wheel_has_every_file_that_the_packages_need(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    rooms = ("preference/", "labeling_config/", "importer/", "qc_reports/", "ml_backend/", "release/", "robopref/")
    assert [name for name in tracked if name.startswith(rooms) and not (site / name).exists()] == []
    run = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import robopref.cli as c; "
         "assert c.__file__.startswith(sys.argv[1]), c.__file__; sys.argv = ['robopref', '--help']; c.app()",
         str(site)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "certify" in run.stdout


def test_make_and_pip_take_the_same_pythons(tmp_path):
    taken = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    check = re.search(r"not \(3, (\d+)\) <= sys\.version_info < \(3, (\d+)\)", (ROOT / "Makefile").read_text())
    assert check
    for minor in range(8, 18):
        assert (int(check[1]) <= minor < int(check[2])) == SpecifierSet(taken).contains(f"3.{minor}.1"), minor
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "old-python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "old-python").chmod(0o755)
    made = subprocess.run(
        ["make", "demo", f"PYTHON={tmp_path}/old-python"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert made.returncode == 2
    assert "Robopref needs Python" in made.stderr
