"""The images of compose.yaml, built by buildah from our Dockerfiles unchanged.

A registry's images are made from Debian's packages under the same names: the Python that runs this, on Debian 13, as
`python:3.11-slim-trixie`; PostgreSQL 17 as `postgres:17` and Caddy as `caddy:2`, with as little around them as the
official ones need to be started the same way. Needs root, buildah and mmdebstrap; pip's own settings go along.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "ca-certificates,libbz2-1.0,libffi8,liblzma5,libreadline8t64,libsqlite3-0,libssl3t64,zlib1g,libncursesw6,libuuid1,"
    "libexpat1,libcrypt1,tzdata,netbase"
)
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/17/bin"
OURS = "rehearsal-"
CERTIFICATES = "/etc/ssl/certs"

POSTGRES = """#!/bin/sh
# What of the official image's script compose.yaml relies on.
set -eu
[ "$1" = postgres ] || exec "$@"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256 >/dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
fi
exec postgres -c listen_addresses='*'
"""


@dataclass(frozen=True)
class Image:
    """A built image; its files lie at `root` as long as its container is mounted."""

    name: str
    root: Path
    settings: dict[str, Any]
    size: int


def build(name: str, target: str, dockerfile: str = "Dockerfile", *, tree: Path = ROOT) -> float:
    """Seconds of the build, layers of earlier ones taken over."""
    start = time.monotonic()
    options = ["--layers", "--file", dockerfile, "--tag", name]
    options += ["--target", target] if target else []
    with tempfile.TemporaryDirectory() as folder:
        _run("buildah", "bud", *options, *_pips_settings(Path(folder)), ".", cwd=tree, quiet=True)
    return time.monotonic() - start


def rebuild(target: str) -> float:
    """Seconds of a build after a line of our code was changed; its image is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for one in ("Dockerfile", *_let_through()):
            copy = shutil.copytree if (ROOT / one).is_dir() else shutil.copy2
            copy(ROOT / one, tree / one)
        with (tree / "preference" / "errors.py").open("a") as changed:
            changed.write("# changed\n")
        seconds = build(f"{OURS}changed", target, tree=tree)
    _run("buildah", "rmi", f"{OURS}changed")
    return seconds


def _let_through() -> list[str]:
    """What .dockerignore lets into a build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [".dockerignore", *(line[1:] for line in lines if line.startswith("!"))]


def mounted(name: str) -> Image:
    """A container of the image, whose files can be looked at."""
    container = _run("buildah", "from", "--pull-never", "--name", f"{OURS}{name.replace(':', '-')}", name)
    root = Path(_run("buildah", "mount", container))
    settings = json.loads(_run("buildah", "inspect", "--type", "image", name))["OCIv1"]["config"]
    return Image(name, root, settings, _size(root))


def unmount() -> None:
    """Also what an earlier run left."""
    for name in _run("buildah", "containers", "--format", "{{.ContainerName}}").split():
        if name.startswith(OURS):
            _run("buildah", "rm", name)


def make_bases() -> None:
    """`python`, `postgres` and `caddy` from Debian's packages, where there are none of these names."""
    known = _run("buildah", "images", "--format", "{{.Name}}:{{.Tag}}")
    if "library/python:3.11-slim-trixie" not in known:
        _make("python:3.11-slim-trixie", LIBRARIES, _copy_python, entrypoint="[]", command='["python3"]')
    if "library/postgres:17" not in known:
        _make("postgres:17", "postgresql-17", _postgres, entrypoint='["docker-entrypoint.sh"]', command='["postgres"]')
    if "library/caddy:2" not in known:
        command = '["caddy","run","--config","/etc/caddy/Caddyfile"]'
        _make("caddy:2", "caddy,wget,ca-certificates", _caddy, entrypoint="[]", command=command)


def _make(name: str, packages: str, prepare: Any, *, entrypoint: str, command: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "debian.tar"
        _run("mmdebstrap", "--variant=minbase", f"--include={packages}", "trixie", str(archive), quiet=True)
        container = _run("buildah", "from", "scratch")
        _run("buildah", "add", "--quiet", container, str(archive), "/")
        root = Path(_run("buildah", "mount", container))
        environment = {"PATH": PATH, "LANG": "C.UTF-8", **prepare(root)}
        options = [word for key, value in environment.items() for word in ("--env", f"{key}={value}")]
        _run("buildah", "config", *options, "--entrypoint", entrypoint, "--cmd", command, container)
        _run("buildah", "commit", "--quiet", "--rm", container, f"docker.io/library/{name}")


def _copy_python(root: Path) -> dict[str, str]:
    """The interpreter that runs this, without what was installed into it."""
    home = Path(sys.base_prefix)
    if home == Path("/usr"):
        raise SystemExit("The rehearsal copies the Python that runs it, which Debian's own is not made for.")
    major = f"python{sys.version_info.major}.{sys.version_info.minor}"
    place = root / "usr/local"
    leave = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a", "config-*")
    shutil.copytree(home / "lib" / major, place / "lib" / major, ignore=leave, dirs_exist_ok=True)
    for library in (home / "lib").glob("libpython*"):
        shutil.copy2(library, place / "lib", follow_symlinks=False)
    shutil.copy2(home / "bin" / major, place / "bin")
    for link in ("python3", "python"):
        (place / "bin" / link).symlink_to(major)
    subprocess.run(["chroot", root, "sh", "-c", "ldconfig && python3 -m ensurepip"], check=True, capture_output=True)
    (place / "bin/pip").symlink_to("pip3")
    return {}


def _postgres(root: Path) -> dict[str, str]:
    script = root / "usr/local/bin/docker-entrypoint.sh"
    script.write_text(POSTGRES)
    script.chmod(0o755)
    data = "/var/lib/postgresql/data"
    subprocess.run(
        ["chroot", root, "install", "--directory", "--owner", "postgres", "--mode", "700", data, "/run/postgresql"],
        check=True,
    )
    return {"PGDATA": data}


def _caddy(root: Path) -> dict[str, str]:
    for name in ("data", "config"):
        (root / name).mkdir()
    return {"XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "/config"}


def _pips_settings(folder: Path) -> list[str]:
    """Options that give the build this machine's way to packages; nothing of it stays in the image."""
    told = _run(sys.executable, "-m", "pip", "config", "list").splitlines()
    found = dict(line.split("=", 1) for line in told if line.startswith("global."))
    lines = [f"{key.removeprefix('global.')} = {value.strip(chr(39))}" for key, value in found.items()]
    kept = [line for line in lines if not line.startswith(("constraint", "find-links"))]
    (folder / "pip.conf").write_text("\n".join(["[global]", *kept]) + "\n")
    places = {word.removeprefix("file://") for line in kept for word in line.split() if word.startswith("file://")}
    roots = sorted({str(Path(place).parent) for place in places if Path(place).exists()})
    binds = [f"{folder / 'pip.conf'}:/etc/pip.conf:ro", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    return [word for bind in [*binds, *(f"{one}:{one}:ro" for one in roots)] for word in ("--volume", bind)]


def _size(root: Path) -> int:
    told = _run("du", "--summarize", "--bytes", "--one-file-system", str(root))
    return int(told.split()[0])


def _run(*command: str, cwd: Path | None = None, quiet: bool = False) -> str:
    environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
    run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        end = (run.stderr or run.stdout)[-3000:]
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{end}")
    return "" if quiet else run.stdout.strip()
