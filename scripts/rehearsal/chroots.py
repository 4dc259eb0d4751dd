"""Services of compose.yaml without a container engine: a network namespace and a chroot each, as root on Linux.

As Docker does it, as far as the kernel lets us: the image's files read-only, only the service's own volumes, tmpfs and
secrets, its user, no capabilities, no new privileges, a process tree and an address of its own in the subnet that
compose.yaml names, and the other services' names in /etc/hosts. A new volume gets the contents and the owner of the
folder in its place. What ends is not started again, and nothing is published: whoever asks comes from the bridge.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from compose_file import Mount, Service
from images import Image

BRIDGE = "rehearsal"
GRACE_S = 60.0
LONGEST_S = 1800.0
"""A command that ends takes less."""

INSIDE = """set -e
root={root}
mount --bind $root $root
mount -t proc proc $root/proc
mount --rbind /dev $root/dev
{mounts}
mount -o remount,bind,{mode} $root
exec chroot $root setpriv --reuid={user} --regid={group} --clear-groups --no-new-privs --bounding-set=-all \\
  --inh-caps=-all env -i {environment} sh -c 'cd "$1" && shift && exec "$@"' sh {folder} {command}
"""


class Chroots:
    """All services of one compose.yaml.

    Args:
        work: Where volumes, secrets and logs are.
        base: The folder of compose.yaml's relative paths, with `secrets` and `project`.
    """

    name = "chroots"
    https_port = 8443

    def __init__(
        self, services: dict[str, Service], raw: dict[str, Any], images: dict[str, Image], work: Path, base: Path
    ) -> None:
        self.services, self._raw, self._images, self._work, self._base = services, raw, images, work, base
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (network,) = raw["networks"].values()
        subnet = ipaddress.ip_network(network["ipam"]["config"][0]["subnet"])
        addresses = subnet.hosts()
        self._gateway, self._mask = next(addresses), subnet.prefixlen
        self.address = {name: str(next(addresses)) for name in services}
        self._make_network()

    def start(self, name: str) -> None:
        """Start a service that goes on; its output goes to its log."""
        with (self._work / f"{name}.log").open("ab") as log:
            command = self._command(name, None)
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def run(self, name: str, command: list[str] | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a service's command, or another one in its place, to its end.

        Args:
            more: Environment that is not in compose.yaml.
        """
        run = subprocess.run(
            self._command(name, command, more), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
            timeout=LONGEST_S,
        )  # fmt: skip
        with (self._work / f"{name}.log").open("a") as log:
            log.write(run.stdout + run.stderr)
        return run

    def healthy(self, name: str) -> bool:
        """Whether it runs and its own check succeeds."""
        runs = self.runs(name)
        return runs and self.run(name, ["--check", *self.services[name].check]).returncode == 0

    def runs(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def log(self, name: str, lines: int = 5) -> str:
        path = self._work / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def kill(self, name: str) -> None:
        """As a crash does it: every process of the service at once."""
        for process in self._tree(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._running.pop(name).wait()

    def stop(self, name: str) -> float:
        """Seconds that it took to end by itself; asked as compose.yaml says. -1: it had to be killed."""
        tree = self._tree(name)
        start = time.monotonic()
        if len(tree) > 1:  # the first is `unshare`, which waits for the service
            tree[1].send_signal(signal.Signals[self.services[name].stop_signal])
        try:
            self._running[name].wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill(name)
            return -1.0
        self._running.pop(name)
        return time.monotonic() - start

    def memory(self, name: str) -> int:
        """Bytes: what several processes share is counted once."""
        total = 0
        for process in self._tree(name)[1:]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def volume(self, name: str) -> Path:
        return self._work / "volumes" / name

    @contextlib.contextmanager
    def laid_over(self, volume: str, options: str) -> Iterator[None]:
        """An empty file system in memory takes the place of a volume; what runs already keeps the volume."""
        place = str(self.volume(volume))
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", place], check=True)

    def wipe(self) -> None:
        """Remove every volume but the backups, as a lost disk would."""
        for path in (self._work / "volumes").iterdir():
            if path.name != "backups":
                shutil.rmtree(path)

    def close(self) -> None:
        for name in list(self._running):
            self.kill(name)
        for number, name in enumerate(self.services):
            subprocess.run(["ip", "link", "delete", f"rh{number}"], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "delete", self._space(name)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)

    def _tree(self, name: str) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess, KeyError):
            first = psutil.Process(self._running[name].pid)
            return [first, *first.children(recursive=True)]
        return []

    def _command(self, name: str, command: list[str] | None, more: dict[str, str] | None = None) -> list[str]:
        service, image = self.services[name], self._images[self.services[name].image]
        check = bool(command and command[0] == "--check")
        entry = [] if check else service.entrypoint or image.settings.get("Entrypoint") or []
        words = (command[1:] if check and command else command) or service.command or image.settings.get("Cmd") or []
        user, group = self._user(service, image)
        script = INSIDE.format(
            root=shlex.quote(str(image.root)), mode="ro" if self._raw["services"][name].get("read_only") else "rw",
            mounts="\n".join(self._mounts(service, image)), user=user, group=group,
            environment=shlex.join(f"{key}={value}" for key, value in self._environment(service, image, more).items()),
            folder=shlex.quote(image.settings.get("WorkingDir") or "/"), command=shlex.join([*entry, *words]),
        )  # fmt: skip
        inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]
        return ["ip", "netns", "exec", self._space(name), *inside]

    def _environment(self, service: Service, image: Image, more: dict[str, str] | None) -> dict[str, str]:
        told = dict(one.split("=", 1) for one in image.settings.get("Env", []))
        return {"HOME": "/"} | told | service.environment | (more or {})

    def _user(self, service: Service, image: Image) -> tuple[str, str]:
        name = service.user or image.settings.get("User") or "0"
        if name.split(":")[0].isdecimal():
            user, _, group = name.partition(":")
            return user, group or user
        for line in (image.root / "etc/passwd").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return line.split(":")[2], line.split(":")[3]
        raise SystemExit(f"{service.name}: its image has no user {name}")

    def _mounts(self, service: Service, image: Image) -> list[str]:
        lines = [self._bind(self._place(one, image), image.root, one.target, one.read_only) for one in service.mounts]
        for secret in service.secrets:
            file = (self._base / self._raw["secrets"][secret]["file"]).resolve()
            lines.append(self._bind(file, image.root, f"/run/secrets/{secret}", True))
        for target in service.tmpfs:
            (image.root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount -t tmpfs -o mode=1777 tmpfs {image.root}{target}")
        return [*lines, self._bind(self._work / "hosts", image.root, "/etc/hosts", True)]

    def _bind(self, source: Path, root: Path, target: str, read_only: bool) -> str:
        place = root / target.lstrip("/")
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        words = f"mount --bind {shlex.quote(str(source))} {shlex.quote(str(place))}"
        return f"{words} && mount -o remount,bind,ro {shlex.quote(str(place))}" if read_only else words

    def _place(self, mount: Mount, image: Image) -> Path:
        if not mount.is_volume:
            return (self._base / mount.source).resolve()
        volume = self.volume(mount.source)
        if not volume.exists():  # the image's folder in its place, with its owner
            if mount.below:
                raise SystemExit(f"the volume {mount.source} has no folder {mount.below} yet")
            volume.parent.mkdir(parents=True, exist_ok=True)
            inside = image.root / mount.target.lstrip("/")
            inside.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", inside, volume], check=True)
        return volume / mount.below if mount.below else volume

    def _space(self, name: str) -> str:
        return f"{BRIDGE}-{name}"

    def _make_network(self) -> None:
        self.close()
        self._work.mkdir(parents=True, exist_ok=True)
        lines = ["127.0.0.1 localhost"]
        for name, address in self.address.items():
            lines.append(" ".join([address, name, *self.services[name].aliases]))
        (self._work / "hosts").write_text("\n".join(lines) + "\n")
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", f"{self._gateway}/{self._mask}", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for number, (name, address) in enumerate(self.address.items()):
            space, outer, inner = self._space(name), f"rh{number}", f"rh{number}i"
            _ip("netns", "add", space)
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            _ip("link", "set", inner, "netns", space)
            _ip("link", "set", outer, "master", BRIDGE)
            _ip("link", "set", outer, "up")
            _ip("-n", space, "address", "add", f"{address}/{self._mask}", "dev", inner)
            for link in (inner, "lo"):
                _ip("-n", space, "link", "set", link, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, env=os.environ)
