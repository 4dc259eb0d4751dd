"""The same services under Docker or podman, where there is an engine: everything through `docker compose`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from compose_file import Service

KILLED = "137"
"""The exit code of what did not end in its time."""


def found() -> str:
    """`docker` or `podman` where its engine answers and knows `compose`; empty otherwise."""
    for program in ("docker", "podman"):
        tries = ([program, "info"], [program, "compose", "version"])
        if shutil.which(program) and all(
            subprocess.run(one, capture_output=True, check=False).returncode == 0 for one in tries
        ):
            return program
    return ""


class Engine:
    """As `Chroots`, with a project of its own, so that no installation on this machine is touched.

    Args:
        base: Where compose.yaml is, with `secrets` and `project`.
    """

    https_port = 443

    def __init__(self, program: str, services: dict[str, Service], base: Path, environment: dict[str, str]) -> None:
        self.name, self.services = program, services
        self._compose = [program, "compose", "--project-name", "robopref-rehearsal", "--project-directory", str(base)]
        self._environment = os.environ | environment
        self.address = dict.fromkeys(services, "127.0.0.1")

    def build(self) -> float:
        start = time.monotonic()
        self._ask("--profile", "tls", "--profile", "commands", "build")
        return time.monotonic() - start

    def size(self, image: str) -> int:
        """Bytes of a built image."""
        return int(self._inspect("image", image, "{{.Size}}"))

    def start(self, name: str) -> None:
        self._ask("up", "--detach", "--no-deps", name)

    def run(self, name: str, command: list[str] | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        told = [word for key, value in more.items() for word in ("--env", f"{key}={value}")]
        words = [*self._compose, "run", "--rm", "--no-deps", "--no-TTY", *told, name, *(command or [])]
        return subprocess.run(words, env=self._environment, capture_output=True, text=True, check=False)

    def healthy(self, name: str) -> bool:
        words = [*self._compose, "exec", "--no-TTY", name, *self.services[name].check]
        return subprocess.run(words, env=self._environment, capture_output=True, check=False).returncode == 0

    def runs(self, name: str) -> bool:
        return name in self._ask("ps", "--services", "--status", "running").split()

    def log(self, name: str, lines: int = 5) -> str:
        return self._ask("logs", "--no-log-prefix", "--tail", str(lines), name)

    def kill(self, name: str) -> None:
        self._ask("kill", name)

    def stop(self, name: str) -> float:
        """Seconds that it took to end by itself. -1: it had to be killed."""
        container = self._container(name)
        start = time.monotonic()
        self._ask("stop", name)
        seconds = time.monotonic() - start
        return -1.0 if self._inspect("container", container, "{{.State.ExitCode}}") == KILLED else seconds

    def memory(self, name: str) -> int:
        container = self._container(name)
        told = subprocess.run(
            [self.name, "stats", "--no-stream", "--format", "json", container],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        first = json.loads(told.stdout.splitlines()[0])
        number, unit = first["MemUsage"].split()[0].rstrip("BiKMG"), first["MemUsage"].split()[0].lstrip("0123456789.")
        return int(float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}.get(unit, 1))

    def volume(self, name: str) -> Path:
        return Path(self._inspect("volume", f"robopref-rehearsal_{name}", "{{.Mountpoint}}"))

    def wipe(self) -> None:
        for name in ("db", "label-studio", "work", "cache"):
            volume = f"robopref-rehearsal_{name}"
            self._ask("rm", "--stop", "--force")
            subprocess.run([self.name, "volume", "rm", "--force", volume], check=True, capture_output=True)

    def close(self) -> None:
        self._ask("--profile", "tls", "--profile", "commands", "down", "--volumes")

    def _container(self, name: str) -> str:
        return self._ask("ps", "--quiet", name).strip()

    def _inspect(self, kind: str, what: str, wanted: str) -> str:
        words = [self.name, kind, "inspect", "--format", wanted, what]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    def _ask(self, *words: str) -> str:
        run = subprocess.run(
            [*self._compose, *words], env=self._environment, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise SystemExit(f"{self.name} compose {' '.join(words)}:\n{run.stderr[-3000:]}")
        return run.stdout
