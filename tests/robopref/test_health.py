"""Health checks look at what was done; backups by the clock keep the newest, and a failure deletes nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml_backend.loop.worker import beat_file, work
from preference.errors import DataError, DiskFull, StoreError, UserError
from preference.records import Activity
from preference.workspace import Workspace
from robopref import regular_backup
from robopref.backup import BackupResult, Studio
from robopref.health import check_backups, check_service, check_space, check_worker
from robopref.regular_backup import AGAIN_S, back_up_regularly, kept_in


class Enough(Exception):
    """Ends an endless loop."""


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    (tmp_path / "robopref.toml").write_text("[service]\nport = 9\n")
    return Workspace.open(tmp_path / "robopref.toml")


def test_a_worker_is_healthy_while_it_looks_or_gets_on(ws):
    with pytest.raises(UserError, match="has not looked for answers yet"):
        check_worker(ws)

    def stop(_: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        work(ws, every_s=1, on_round=print, on_trouble=print, sleep=stop)
    now = beat_file(ws).stat().st_mtime
    check_worker(ws, now + 1700)
    with pytest.raises(UserError, match="has not looked for answers since"):
        check_worker(ws, now + 1900)
    at = datetime.fromtimestamp(now + 1000, UTC).isoformat()
    ws.store.put_activity(Activity("Round", at, at, "Training", 1, 5))
    check_worker(ws, now + 1900)


def test_a_worker_that_cannot_look_is_not_healthy(ws, monkeypatch):
    def gone(*_: object) -> None:
        raise StoreError("away")

    def stop(_: float) -> None:
        raise Enough

    monkeypatch.setattr("ml_backend.loop.worker.Worker.look", gone)
    with pytest.raises(Enough):
        work(ws, every_s=1, on_round=print, on_trouble=lambda _: None, sleep=stop)
    assert not beat_file(ws).exists()


def test_a_service_that_does_not_answer_is_not_healthy(ws):
    with pytest.raises(UserError, match=r"does not answer at http://127\.0\.0\.1:9/health"):
        check_service(ws.config.file)


def test_too_little_space_is_said_with_the_setting(ws, monkeypatch):
    check_space(ws.root)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 12_000_000))
    with pytest.raises(DiskFull, match=r"12 MB are free for the work folder .*ROBOPREF_WORK"):
        check_space(ws.root)


class Clock:
    """Sleeping makes it later; after `most` sleeps it is enough."""

    def __init__(self, now: float, most: int) -> None:
        self.now, self.most, self.slept = now, most, []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if len(self.slept) == self.most:
            raise Enough


def test_backups_by_the_clock_keep_the_newest(tmp_path, monkeypatch):
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "mine.tar").write_text("somebody else's")
    clock = Clock(1_800_000_000.0, 5)

    def make(config: Path, target: Path, studio: Studio) -> BackupResult:
        target.write_text("x")
        os.utime(target, (clock(), clock()))
        return BackupResult(target, 1, 1, [])

    monkeypatch.setattr(regular_backup, "back_up", make)
    said: list[object] = []
    with pytest.raises(Enough):
        back_up_regularly(
            tmp_path / "robopref.toml", folder, Studio(), every_h=24, keep=2, on_done=said.append,
            on_trouble=said.append, clock=clock, sleep=clock.sleep,
        )  # fmt: skip
    assert len(said) == 5 and len(kept_in(folder)) == 2 and (folder / "mine.tar").exists()
    assert clock.slept == [24 * 3600] * 5
    check_backups(folder, 48, clock())
    with pytest.raises(UserError, match="is 72 hours old"):
        check_backups(folder, 48, clock() + 48 * 3600)


def test_a_backup_that_fails_is_tried_again_and_deletes_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "backups"
    folder.mkdir()
    old = folder / "robopref-20200101T000000Z.tar"
    old.write_text("x")

    def fail(*_: object) -> None:
        raise DiskFull("No space left.")

    monkeypatch.setattr(regular_backup, "back_up", fail)
    clock, said = Clock(old.stat().st_mtime + 24 * 3600, 3), []
    with pytest.raises(Enough):
        back_up_regularly(
            tmp_path / "robopref.toml", folder, Studio(), every_h=24, keep=1, on_done=said.append,
            on_trouble=said.append, clock=clock, sleep=clock.sleep,
        )  # fmt: skip
    assert clock.slept == [AGAIN_S] * 3 and len(said) == 3 and old.exists()


def test_a_failing_disk_does_not_end_the_daily_backup(tmp_path, monkeypatch):
    folder = tmp_path / "backups"
    folder.mkdir()

    def fail(folder: Path) -> list[Path]:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(regular_backup, "kept_in", fail)
    clock, said = Clock(0, 3), []
    with pytest.raises(Enough):
        back_up_regularly(
            tmp_path / "robopref.toml", folder, Studio(), every_h=24, keep=1, on_done=said.append,
            on_trouble=said.append, clock=clock, sleep=clock.sleep,
        )  # fmt: skip
    assert clock.slept == [AGAIN_S] * 3
    assert [str(error) for error in said] == [f"{folder}: {os.strerror(errno.ESTALE)}."] * 3


def test_after_a_restart_a_young_backup_is_enough(tmp_path, monkeypatch):
    folder = tmp_path / "backups"
    folder.mkdir()
    young = folder / "robopref-20200101T000000Z.tar"
    young.write_text("x")
    monkeypatch.setattr(regular_backup, "back_up", lambda *_: pytest.fail("made one too many"))
    clock = Clock(young.stat().st_mtime + 3600, 1)
    with pytest.raises(Enough):
        back_up_regularly(
            tmp_path / "robopref.toml", folder, Studio(), every_h=24, keep=1, on_done=print, on_trouble=print,
            clock=clock, sleep=clock.sleep,
        )  # fmt: skip
    assert clock.slept == pytest.approx([23 * 3600])


def test_a_folder_for_backups_has_to_be_there(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        back_up_regularly(
            tmp_path / "robopref.toml", tmp_path / "none", Studio(), every_h=1, keep=1, on_done=print, on_trouble=print
        )
    with pytest.raises(UserError, match="There is no backup"):
        check_backups(tmp_path, 1)
