"""Claim: what compose.yaml describes can be built, started, used, killed, backed up, restored and upgraded.

In: compose.yaml and the Dockerfiles as they are. Out: a table, and as the last line the JSON of a benchmark.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import campaign
import compose_file
import engine
import httpx
import images
import mistakes
from chroots import Chroots
from engine import Engine

ROOT = Path(__file__).resolve().parents[2]
HOST = "label.example.org"
PASSWORD = "p@ss:w/%#rd ?&é'\"\\"
OLD = Path(__file__).with_name("old_tables.py")
LIMIT_STUDIO = 1_500_000_000
OURS = {
    "robopref-label-studio": ("label-studio", "Dockerfile"),
    "robopref": ("robopref", "Dockerfile"),
    "robopref-proxy": ("", "deploy/proxy.Dockerfile"),
}
"""Image → its target and its Dockerfile."""
PATIENCE_S = 600.0
ORDER = ("db", "label-studio", "backend", "worker", "backup", "proxy")
"""What goes on, in the order in which it is killed."""


class Rehearsal:
    """What was found; `check` adds a line of the table."""

    def __init__(self, services: Any, base: Path) -> None:
        self.services, self._base = services, base
        self.figures: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def check(self, name: str, step: Callable[[], Any]) -> Any:
        start = time.monotonic()
        try:
            found = step()
        except (campaign.Failed, httpx.HTTPError, AssertionError, subprocess.SubprocessError, OSError) as error:
            self.failed.append(name)
            self._line(name, "FAILED", start)
            print(f"    {error}", flush=True)
            return None
        self.figures[name.replace(" ", "_")] = found if found is not None else True
        self.seconds[name] = round(time.monotonic() - start, 1)
        self._line(name, "" if found is None or found is True else str(found), start)
        return found

    def _line(self, name: str, found: str, start: float) -> None:
        print(f"{name:<42} {found:<44} {time.monotonic() - start:>7.1f} s", flush=True)

    def up(self, but: str = "") -> dict[str, float]:
        """`docker compose up`: each service once those that it waits for are as it wants them; seconds of each.

        Args:
            but: One that is left out.
        """
        seconds = {}
        for name, service in self.services.services.items():
            if "commands" in service.profiles or name == but or self.services.runs(name):
                continue
            start = time.monotonic()
            if service.ends:
                done = self.services.run(name)
                _require(done.returncode == 0, f"{name}: exit code {done.returncode}: {self.services.log(name)}")
            else:
                self.services.start(name)
                self.wait(name)
            seconds[name] = round(time.monotonic() - start, 1)
        return seconds

    def wait(self, name: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not self.services.healthy(name):
            _require(self.services.runs(name), f"{name} ended: {self.services.log(name)}")
            _require(time.monotonic() < until, f"{name} is not healthy: {self.services.log(name)}")
            time.sleep(1)

    def kill_each(self) -> dict[str, float]:
        """Seconds from the death of each to its health, and to that of Label Studio and the backend."""
        seconds = {}
        for name in ORDER:
            self.services.kill(name)
            start = time.monotonic()
            self.services.start(name)  # as Docker's restart policy does
            for other in (name, "label-studio", "backend"):
                self.wait(other)
            seconds[name] = round(time.monotonic() - start, 1)
        return seconds

    def stop_each(self) -> dict[str, float]:
        seconds = {name: round(self.services.stop(name), 1) for name in reversed(ORDER)}
        killed = [name for name, took in seconds.items() if took < 0]
        _require(not killed, f"had to be killed: {killed}")
        return seconds

    def memory(self) -> dict[str, int]:
        return {name: round(self.services.memory(name) / 1e6) for name in ORDER}

    def report_by_the_public_address(self) -> str:
        """A manager signs in through the proxy, with its certificate checked, and opens the reports."""
        with self._browser() as browser:
            shown = browser.get("/user/login/")
            form = {
                "email": "manager@example.org",
                "password": (self._base / "secrets" / "label_studio_password").read_text(),
                "csrfmiddlewaretoken": shown.cookies.get("csrftoken", ""),
            }
            entered = browser.post("/user/login/", data=form, headers={"Referer": f"https://{HOST}/user/login/"})
            _require(entered.status_code == 302, f"sign-in: {entered.status_code} {entered.text[:300]}")
            secure = all(cookie.secure for cookie in browser.cookies.jar)
            _require(secure, "a cookie is not for https only")
            page = browser.get("/robopref/console/reports")
            _require(page.status_code == 200 and "report" in page.text.lower(), f"reports: {page.status_code}")
            script = browser.get("/robopref/plugin.js")
            _require(script.status_code == 200, f"the plugin's script: {script.status_code}")
        return f"https://{HOST}/robopref/console/reports"

    def invitation_by_the_public_address(self) -> None:
        said = campaign.robopref(self.services, "annotators invite p1")
        link = next((word for word in said.split() if word.startswith("http")), "")
        _require(link.startswith(f"https://{HOST}/join?"), f"the link is {link}")
        with self._browser() as browser:
            page = browser.get(link.removeprefix(f"https://{HOST}"))
        _require(page.status_code == 200 and "<form" in page.text, f"/join: {page.status_code}")

    def stays_inside(self) -> None:
        """Nothing else of the backend can be reached by the proxy."""
        with self._browser() as browser:
            for path in ("/metrics", "/reports", "/openapi.json", "/versions"):  # Label Studio has an empty /metrics
                answer = browser.get(path)
                ours = answer.status_code == 401 or (answer.status_code == 200 and answer.text.strip())
                _require(not ours, f"{path}: {answer.status_code} {answer.text[:80]}")

    def _browser(self) -> httpx.Client:
        authority = self.services.volume("caddy") / "caddy/pki/authorities/local/root.crt"
        context = ssl.create_default_context(cafile=str(authority))
        address, port = self.services.address["proxy"], self.services.https_port

        class Through(httpx.HTTPTransport):
            """The name stays what it is; the connection goes to the proxy."""

            def handle_request(self, request: httpx.Request) -> httpx.Response:
                url = request.url.copy_with(host=address, port=port)
                more = request.extensions | {"sni_hostname": HOST}
                there = httpx.Request(
                    request.method, url, headers=request.headers, stream=request.stream, extensions=more
                )
                return super().handle_request(there)

        return httpx.Client(
            base_url=f"https://{HOST}", transport=Through(verify=context), timeout=60, headers={"Host": HOST}
        )

    def back_up_wipe_restore(self) -> dict[str, Any]:
        """What there was is there again: counts, models, Label Studio's answers, the release with its checksums."""
        self.services.stop("worker")  # which would train and plan meanwhile
        before = campaign.holdings(self.services)
        file = "/backups/before.tar"
        start = time.monotonic()
        made = self.services.run("backup", ["robopref", "backup", file])
        backup_s = time.monotonic() - start
        _require(made.returncode == 0, made.stdout + made.stderr)
        for name in reversed(ORDER):
            if name != "worker":
                self.services.stop(name)
        self.services.wipe()
        for name in ("db", "roles", "migrate", "label-studio-setup"):  # a new installation, which is then filled
            self._start(name)
        _require(campaign.counts(self.services)["judgments"] == 0, "the wiped installation still has answers")
        start = time.monotonic()
        done = self.services.run("backup", ["robopref", "restore", file, "--force"])
        restore_s = time.monotonic() - start
        _require(done.returncode == 0, done.stdout + done.stderr)
        self.up(but="worker")
        after = campaign.holdings(self.services)
        _require(before == after, f"before {before}, after {after}")
        self.up()
        found = campaign.robopref(self.services, "doctor", accept=(0, 1))
        _require("projects are there" in found, found)
        shown = {name: number for name, number in after.items() if isinstance(number, int)}
        return {"backup_s": round(backup_s, 1), "restore_s": round(restore_s, 1), **shown}

    def _start(self, name: str) -> None:
        if self.services.services[name].ends:
            done = self.services.run(name)
            _require(done.returncode == 0, f"{name}: {done.stdout}{done.stderr}")
        else:
            self.services.start(name)
            self.wait(name)

    def upgrade(self) -> dict[str, Any]:
        """The campaign in an early version's tables, and then what `docker compose up` does with them."""
        for name in ("proxy", "backup", "worker", "backend"):
            self.services.stop(name)
        before = campaign.counts(self.services)
        made = self.services.run("migrate", ["python", "-c", OLD.read_text()])
        _require(made.returncode == 0, made.stdout + made.stderr)
        start = time.monotonic()
        self._start("migrate")
        seconds = time.monotonic() - start
        unlabelled = campaign.counts(self.services)
        _require(unlabelled == before | {"labels": 0}, f"before {before}, after {unlabelled}")
        campaign.robopref(self.services, "resolve", accept=(0, 3))
        after = campaign.counts(self.services)
        _require(after == before, f"before {before}, after {after}")
        self.up()
        return {"migrate_s": round(seconds, 1), **after}


def _require(met: bool, said: str) -> None:
    if not met:
        raise campaign.Failed(said.strip()[-2500:])


def prepare(base: Path) -> dict[str, str]:
    """compose.yaml and what it reads, in a folder of its own; what would be in .env."""
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    shutil.copy2(ROOT / "compose.yaml", base)
    shutil.copytree(ROOT / "deploy", base / "deploy")
    (base / "certificates").mkdir()
    shutil.copytree(ROOT / "examples" / "pool", base / "datasets" / "pool")
    campaign.write_project(base / "project")
    subprocess.run([base / "deploy" / "secrets.sh", base / "secrets"], check=True, stdout=subprocess.DEVNULL)
    for name in ("robopref", "label_studio"):  # any character will do
        (base / "secrets" / f"{name}_database_password").write_text(f"{PASSWORD}{name}\n", encoding="utf-8")
    return {
        "LABEL_STUDIO_USERNAME": "manager@example.org", "ROBOPREF_PUBLIC_URL": f"https://{HOST}",
        "ROBOPREF_TLS": "internal", "COMPOSE_PROFILES": "tls",
    }  # fmt: skip


def start(work: Path, variables: dict[str, str], *, built: bool) -> tuple[Any, dict[str, Any]]:
    """The services, ready to be started, and what was measured while their images were made."""
    base = work / "base"
    services, raw = compose_file.load(base / "compose.yaml", variables)
    figures: dict[str, Any] = {}
    if program := engine.found():
        made = Engine(program, services, base, variables)
        figures["build_s"] = round(made.build(), 1)
        return made, figures | {f"size_{name}_mb": round(made.size(name) / 1e6) for name in OURS}
    print("No container engine: services run in chroots made by buildah; python, postgres and caddy are Debian's.")
    images.unmount()
    images.make_bases()
    for name, (target, file) in OURS.items():
        if not built:
            figures[f"build_{name}_s"] = round(images.build(name, target, file), 1)
    for name, (target, _) in OURS.items():
        if target:
            figures[f"rebuild_{name}_s"] = round(images.rebuild(target), 1)
    found = {name: images.mounted(name) for name in {service.image for service in services.values()}}
    figures |= {f"size_{name}_mb": round(found[name].size / 1e6) for name in OURS}
    return Chroots(services, raw, found, work, base), figures


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, default=Path("/var/tmp/robopref-rehearsal"), help="a folder to work in")
    options.add_argument("--built", action="store_true", help="take the images as they are")
    options.add_argument("--short", action="store_true", help="no campaign: only the first tasks")
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing is left running
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it, and services would inherit that
    shutil.rmtree(given.work, ignore_errors=True)
    services, figures = start(given.work, prepare(given.work / "base"), built=given.built)
    told = Rehearsal(services, given.work / "base")
    try:
        for name, value in figures.items():
            print(f"{name:<42} {value}")
        begun = time.monotonic()
        if told.check("every service is up and healthy", told.up):
            figures["up_to_healthy_s"] = round(time.monotonic() - begun)
            told.check("the first task can be served", lambda: campaign.first_task(services))
            figures["up_to_first_task_s"] = round(time.monotonic() - begun)
            told.check("idle memory in MB", told.memory)
            if not given.short:
                told.check("a campaign of eight people", lambda: campaign.hold(services))
            told.check("a report by the public address", told.report_by_the_public_address)
            told.check("an invitation by the public address", told.invitation_by_the_public_address)
            told.check("the backend stays inside", told.stays_inside)
            told.check("mistakes are one line each", lambda: mistakes.make_each(services))
            told.check("every service killed once", told.kill_each)
            told.check("stopped and started without loss", lambda: (told.stop_each(), told.up())[0])
            told.check("backup, wipe, restore", told.back_up_wipe_restore)
            told.check("an early version's tables upgraded", told.upgrade)
    finally:
        services.close()
        images.unmount()
    size = figures["size_robopref-label-studio_mb"]
    met = not told.failed and size * 1e6 <= LIMIT_STUDIO
    target = "every step; the image label-studio under 1.5 GB"
    print("Only Docker shows: published ports, restart policies, log rotation, limits of resources.")
    figures |= told.figures | {"seconds": told.seconds, "failed": told.failed}
    print(json.dumps({"name": "install", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
