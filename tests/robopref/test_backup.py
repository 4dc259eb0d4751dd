"""A backup taken while people work, wiped and restored, is the workspace as it was; nothing is overwritten unasked."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from disk_maker import as_nobody, small_disk

from preference.artifacts import write_text
from preference.errors import DataError, DiskFull, NotReady, StoreError, UserError
from preference.locks import WORKER, exclusively
from preference.records import Annotator, Assignment, Batch, Judgment, Pair, Trajectory
from preference.store import Store, copies
from preference.workspace import Workspace
from robopref.backup import Studio, back_up, restore


def judgment(number: int) -> Judgment:
    return Judgment(
        assignment_id=f"x{number}", annotator_id="ann", pair_id=f"p{number}", annotation_id=number + 1,
        task_id=number + 1, preference="A", confidence=3, response_time_ms=4000, created_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, empty_database_url: str) -> Path:
    """robopref.toml of a project with a batch of 200 assignments, two answers, a clip, and a Label Studio beside it."""
    root = tmp_path / "project"
    root.mkdir()
    config = root / "robopref.toml"
    database = "" if empty_database_url.startswith("sqlite") else f'database = "{empty_database_url}"\n'
    config.write_text(f'name = "drill"\n{database}')
    ws = Workspace.open(config)
    ws.store.put_trajectories([Trajectory(f"t{i}", "d", i, "expert", "push") for i in range(201)])
    ws.store.put_annotators([Annotator("ann", "ann@example.org")])
    pairs = [Pair(f"p{i}", f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001") for i in range(200)]
    views = [Assignment(f"x{i}", f"p{i}", "ann", "production-001", i, "A") for i in range(200)]
    ws.store.put_pairs(Batch("production-001", "production"), pairs, views)
    ws.store.set_tasks([(f"x{i}", 1, i + 1) for i in range(200)])
    ws.store.put_judgments([judgment(0), judgment(1)])
    write_text(ws.clips / "t0.mp4", "a clip")
    write_text(ws.models / "v1" / "training.json", "{}")
    ws.store.close()
    studio = root / "label_studio"
    studio.mkdir()
    (studio / "credentials.json").write_text("{}")
    write_text(studio / ".env", "SECRET_KEY=signs-every-token")
    (studio / ".env").chmod(0o600)
    write_text(studio / ".half-written", "x")
    with closing(sqlite3.connect(studio / "label_studio.sqlite3")) as connection:
        connection.execute("CREATE TABLE task (id INTEGER)")
        connection.execute("INSERT INTO task VALUES (7)")
        connection.commit()
    return config


def beside(config: Path) -> Studio:
    return Studio.of(config, None, "")


def wipe(config: Path, empty_database_url: str) -> None:
    shutil.rmtree(config.parent)
    if not empty_database_url.startswith("sqlite"):
        engine = sa.create_engine(empty_database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
        engine.dispose()


def tasks_of_studio(config: Path) -> list[tuple[int]]:
    with closing(sqlite3.connect(config.parent / "label_studio" / "label_studio.sqlite3")) as connection:
        return connection.execute("SELECT id FROM task").fetchall()


def test_back_up_wipe_restore_go_on(project: Path, tmp_path: Path, empty_database_url: str) -> None:
    made = back_up(project, tmp_path / "b.tar", beside(project))
    assert stat.S_IMODE((tmp_path / "b.tar").stat().st_mode) == 0o600 and made.notes == []
    wipe(project, empty_database_url)
    restore(project, tmp_path / "b.tar", beside(project))
    ws = Workspace.open(project)
    assert [j.assignment_id for j in ws.store.judgments()] == ["x0", "x1"]
    assert (ws.clips / "t0.mp4").read_text() == "a clip" and (ws.models / "v1" / "training.json").exists()
    assert tasks_of_studio(project) == [(7,)]
    assert json.loads((project.parent / "label_studio" / "credentials.json").read_text()) == {}
    key = project.parent / "label_studio" / ".env"  # without it no session or personal access token is valid
    assert key.read_text() == "SECRET_KEY=signs-every-token" and stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not (project.parent / "label_studio" / ".half-written").exists()
    assert ws.store.put_judgments([judgment(2)]) == 1  # and on it goes
    ws.store.close()
    assert not list(project.parent.glob(".*"))


def test_a_backup_while_answers_come_in_holds_a_moment_of_them(project: Path, tmp_path: Path) -> None:
    ws, stop = Workspace.open(project), threading.Event()
    stored = [2]

    def answer() -> None:
        for number in range(2, 200):
            if stop.is_set():
                return
            ws.store.put_judgments([judgment(number)])
            stored[0] = number + 1

    thread = threading.Thread(target=answer)
    thread.start()
    before = stored[0]
    back_up(project, tmp_path / "b.tar", beside(project))
    after = stored[0]
    stop.set()
    thread.join()
    ws.store.close()
    restore(project, tmp_path / "b.tar", beside(project), force=True)
    again = Workspace.open(project)
    found = sorted(j.annotation_id for j in again.store.judgments())
    again.store.close()
    assert found == list(range(1, len(found) + 1)), "a moment has no holes"
    assert before <= len(found) <= after + 1


def test_nothing_is_overwritten_unasked(project: Path, tmp_path: Path) -> None:
    back_up(project, tmp_path / "b.tar", beside(project))
    with pytest.raises(UserError, match=r"b\.tar exists"):
        back_up(project, tmp_path / "b.tar", beside(project))
    with pytest.raises(UserError, match="would be overwritten"):
        restore(project, tmp_path / "b.tar", beside(project))
    ws = Workspace.open(project)
    with exclusively(ws, WORKER), pytest.raises(NotReady, match="A worker is running"):
        restore(project, tmp_path / "b.tar", beside(project), force=True)
    write_text(ws.clips / "later.mp4", "x")
    ws.store.close()
    restore(project, tmp_path / "b.tar", beside(project), force=True)
    assert not (ws.clips / "later.mp4").exists() and (ws.clips / "t0.mp4").exists()


def test_a_restore_fills_the_folders_that_are_there_as_a_mount_point_cannot_be_replaced(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(project, tmp_path / "b.tar", beside(project))
    work, studio = project.parent / "work", project.parent / "label_studio"
    (work / "left over").symlink_to(tmp_path)
    before = [folder.stat().st_ino for folder in (work, studio)]
    busy = {str(work), str(studio)}
    for name in ("rename", "replace"):
        usual = getattr(os, name)

        def as_mounted(old, new, *args, usual=usual, **kwargs):
            if {str(old), str(new)} & busy:
                raise OSError(errno.EBUSY, "Device or resource busy")
            return usual(old, new, *args, **kwargs)

        monkeypatch.setattr(os, name, as_mounted)
    restore(project, tmp_path / "b.tar", beside(project), force=True)
    assert [folder.stat().st_ino for folder in (work, studio)] == before
    assert sorted(path.name for path in studio.iterdir()) == [".env", "credentials.json", "label_studio.sqlite3"]
    assert (work / "clips" / "t0.mp4").read_text() == "a clip"
    assert not (work / "left over").is_symlink() and tmp_path.is_dir()
    assert not [path for path in work.iterdir() if path.name.startswith(".")]


# -- what does not depend on the database --------------------------------------------------------------------------


@pytest.fixture
def backup(planned_batch: Workspace, tmp_path: Path) -> Path:
    planned_batch.store.close()
    made = back_up(tmp_path / "robopref.toml", tmp_path / "b.tar", Studio())
    assert "Label Studio is not part of it" in made.notes[0]
    return made.path


def test_a_flipped_byte_or_a_missing_end_is_found_before_anything_is_touched(backup: Path, tmp_path: Path) -> None:
    whole, target = backup.read_bytes(), tmp_path / "new" / "robopref.toml"
    for number, spoilt in enumerate(
        [whole[: len(whole) // 2], b"", b"hello", *(_flipped(whole, at) for at in range(600, len(whole), 9973))]
    ):
        backup.write_bytes(spoilt)
        try:
            restore(target, backup, Studio())
        except DataError:
            assert not target.exists(), number
        else:  # padding, or a header's time: every byte of every file is as it was
            shutil.rmtree(target.parent)
    backup.write_bytes(whole)
    restore(target, backup, Studio())


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "work/../../out", "other/file", "work", "work//x", "work/./x"])
@pytest.mark.parametrize("link", [False, True])
def test_a_member_that_leads_out_or_is_a_link_is_refused(tmp_path: Path, name: str, link: bool) -> None:
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        member = tarfile.TarInfo("work/link" if link else name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, name
        tar.addfile(member, io.BytesIO())
    before = set(tmp_path.iterdir())
    with pytest.raises(DataError, match="which no backup does"):
        restore(tmp_path / "new" / "robopref.toml", tmp_path / "b.tar", Studio())
    assert set(tmp_path.iterdir()) - before == {tmp_path / "new"} and not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    "line", ['work = "../elsewhere"', 'work = "{}/elsewhere"', 'database = "sqlite:///{}/elsewhere"']
)
def test_a_backups_own_settings_write_nothing_outside_their_folder(tmp_path: Path, line: str) -> None:
    (tmp_path / "theirs").mkdir()
    config = tmp_path / "theirs" / "robopref.toml"
    config.write_text("")
    Workspace.open(config).store.close()
    back_up(config, tmp_path / "b.tar", Studio())
    contents = {}
    with tarfile.open(tmp_path / "b.tar") as tar:
        for member in tar:
            file = tar.extractfile(member)
            contents[member.name] = file.read() if file else b""
    contents["robopref.toml"] = line.format(tmp_path).encode()
    about = json.loads(contents["backup.json"])
    about["sha256"]["robopref.toml"] = hashlib.sha256(contents["robopref.toml"]).hexdigest()
    contents["backup.json"] = json.dumps(about).encode()
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError, match="would write to"):
        restore(tmp_path / "new" / "robopref.toml", tmp_path / "b.tar", Studio())
    assert not (tmp_path / "elsewhere").exists() and not list((tmp_path / "new").iterdir())


def test_a_backup_of_another_kind_of_database_says_so(backup: Path, tmp_path: Path) -> None:
    config = tmp_path / "new" / "robopref.toml"
    config.parent.mkdir()
    config.write_text('database = "postgresql://127.0.0.1:1/nowhere"\n')
    with pytest.raises(UserError, match="The backup's database is sqlite, this workspace's is postgresql"):
        restore(config, backup, Studio())


def test_a_missing_pg_dump_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="needs pg_dump, which is not installed"):
        copies.dump_postgresql("postgresql://127.0.0.1:1/nowhere", tmp_path / "d.dump")


def test_the_password_reaches_pg_dump_by_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$PGPASSWORD|$*" > {tmp_path}/told\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(StoreError, match="pg_dump failed for postgresql://robopref@db/robopref"):
        copies.dump_postgresql("postgresql://robopref:p%40ss%2Fw@db/robopref", tmp_path / "d.dump")
    password, _, arguments = (tmp_path / "told").read_text().strip().partition("|")
    assert password == "p@ss/w" and arguments.endswith("postgresql://robopref@db/robopref")


def test_no_space_for_a_backup_names_its_folder(project: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "64k") as mounted:
        if not mounted:
            pytest.skip("only root can mount a small disk")
        with pytest.raises(DiskFull, match=rf"No space left on the disk for {tmp_path}/small/") as caught:
            back_up(project, tmp_path / "small" / "a.tar", Studio())
        assert list((tmp_path / "small").iterdir()) == []
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_said_with_both_users(project: Path, tmp_path: Path) -> None:
    with (
        as_nobody(tmp_path),
        pytest.raises(UserError, match=r"The folder for backups .* belongs to user 0, and this runs as user 65534"),
    ):
        back_up(project, tmp_path / "a.tar", Studio())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_that_only_another_user_may_read_is_named_and_no_archive_is_left(project: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    key = project.parent / "label_studio" / ".env"
    for path in (tmp_path / "kept", project.parent, *project.parent.rglob("*")):
        os.chown(path, 0 if path == key else 65534, -1)
    with (
        as_nobody(tmp_path),
        pytest.raises(UserError, match=rf"{key} belongs to user 0, and this runs as user 65534, who may not read"),
    ):
        back_up(project, tmp_path / "kept" / "a.tar", beside(project))
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", ["label_studio", "label_studio/media", "work/reports"])
def test_a_folder_that_only_another_user_may_open_is_named(project: Path, tmp_path: Path, closed: str) -> None:
    (tmp_path / "kept").mkdir()
    folder = project.parent / closed
    folder.mkdir(exist_ok=True)
    for path in (tmp_path / "kept", project.parent, *project.parent.rglob("*")):
        os.chown(path, 0 if path == folder else 65534, -1)
    folder.chmod(0o700)
    with (
        as_nobody(tmp_path),
        pytest.raises(UserError, match=rf"{folder} belongs to user 0, and this runs as user 65534"),
    ):
        back_up(project, tmp_path / "kept" / "a.tar", Studio.of(project, None, ""))
    assert list((tmp_path / "kept").iterdir()) == []


@contextmanager
def another_user(project: Path, tmp_path: Path) -> Iterator[Path]:
    """This process as user 65534, who owns the project; yields a folder of theirs for backups."""
    (tmp_path / "kept").mkdir()
    for path in (tmp_path / "kept", project.parent, *project.parent.rglob("*")):
        os.chown(path, 65534, -1)
    with as_nobody(tmp_path):
        yield tmp_path / "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_lost_and_found_of_a_disk_is_no_part_of_it_and_stays(project: Path, tmp_path: Path) -> None:
    tops = [project.parent / "work" / "lost+found", project.parent / "label_studio" / "lost+found"]
    write_text(project.parent / "work" / "reports" / "lost+found" / "ours.txt", "x")
    with another_user(project, tmp_path) as kept:
        os.seteuid(0)
        for folder in tops:
            folder.mkdir(mode=0o700)
            (folder / "#17").write_text("x")
        os.seteuid(65534)
        back_up(project, kept / "a.tar", beside(project))
        restore(project, kept / "a.tar", beside(project), force=True)
    with tarfile.open(tmp_path / "kept" / "a.tar") as tar:
        assert [name for name in tar.getnames() if "lost+found" in name] == ["work/reports/lost+found/ours.txt"]
    assert all((folder / "#17").exists() for folder in tops)


def test_a_disk_with_nothing_but_its_lost_and_found_is_an_empty_place(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / "work" / "lost+found").mkdir(parents=True)
    (tmp_path / "new" / "label_studio" / "lost+found").mkdir(parents=True)
    restore(tmp_path / "new" / "robopref.toml", backup, Studio(tmp_path / "new" / "label_studio"))
    assert (tmp_path / "new" / "work" / "lost+found").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", ["label_studio", "label_studio/media", "work/clips", "work/reports/deep"])
@pytest.mark.parametrize(("owner", "said"), [(0, "belongs to user 0, and this runs as"), (65534, "may not be read")])
def test_a_folder_that_may_be_listed_and_not_entered_is_named(
    project: Path, tmp_path: Path, closed: str, owner: int, said: str
) -> None:
    folder = project.parent / closed
    write_text(folder / "inner" / "file.txt", "x")
    with another_user(project, tmp_path) as kept:
        os.seteuid(0)
        os.chown(folder, owner, -1)
        folder.chmod(0o744 if owner == 0 else 0o444)
        os.seteuid(65534)
        with pytest.raises(UserError, match=rf"^{folder} {said}"):
            back_up(project, kept / "a.tar", Studio.of(project, None, ""))
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_label_studios_data_has_to_be_a_folder(project: Path, tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "data").write_text("x")
    with pytest.raises(UserError, match=rf"There is no folder {tmp_path}/data with Label Studio's data"):
        back_up(project, tmp_path / "b.tar", Studio.of(project, tmp_path / "data", ""))
    assert not (tmp_path / "b.tar").exists()
    if there:
        back_up(project, tmp_path / "b.tar", beside(project))
        with pytest.raises(UserError, match=rf"{tmp_path}/data is not a folder"):
            restore(project, tmp_path / "b.tar", Studio(tmp_path / "data"), force=True)


def test_a_place_below_a_file_is_said_with_the_file_systems_reason(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{project}: (Not a directory|File exists)\."):
        back_up(project, project / "b.tar", Studio())


@pytest.mark.parametrize("reason", [errno.EIO, errno.ESTALE])
def test_a_failing_disk_is_said_with_the_file_and_the_reason(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    clip = Workspace.open(project).clips / "t0.mp4"

    class Failing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(reason, os.strerror(reason))

    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda p, *how, **more: Failing(p) if p == clip else opened(p, *how, **more))
    with pytest.raises(UserError, match=rf"^{clip}: {os.strerror(reason)}\.$"):
        back_up(project, tmp_path / "b.tar", beside(project))
    assert not list(tmp_path.glob("*b.tar*"))


# -- migrations ----------------------------------------------------------------------------------------------------


def old_database(url: str, revision: str) -> None:
    """A database as an earlier version left it, with a trajectory and a batch."""
    from alembic import command
    from alembic.config import Config as AlembicConfig

    from preference.store.migrate import MIGRATIONS

    settings = AlembicConfig()
    settings.set_main_option("script_location", str(MIGRATIONS))
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)
        connection.execute(
            sa.text(
                "INSERT INTO batches (batch_id, kind, status, created_at, reasons) VALUES "
                "('production-001', 'production', 'open', '', '[]')"
            )
        )
    engine.dispose()


def others_table(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE htx_user (id INTEGER)"))
    engine.dispose()


def rows(url: str, query: str) -> list:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(sa.text(query))]
    engine.dispose()
    return found


def test_an_old_schema_is_copied_beside_it_upgraded_and_goes_on(empty_database_url: str, tmp_path: Path) -> None:
    old_database(empty_database_url, "0004")
    others_table(empty_database_url)
    store = Store.open(empty_database_url)
    assert [batch.batch_id for batch in store.batches()] == ["production-001"]
    store.put_annotators([Annotator("ann", "ann@example.org")])
    store.close()
    Store.open(empty_database_url).close()  # a second start copies nothing
    if empty_database_url.startswith("sqlite"):
        copy = tmp_path / "robopref.db.0004"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        kept = f"sqlite:///{copy}"
        assert rows(kept, "SELECT version_num FROM alembic_version") == [("0004",)]
        assert rows(kept, "SELECT batch_id FROM batches") == [("production-001",)]
        assert len(list(tmp_path.glob("robopref.db.*"))) == 1
    else:
        assert rows(empty_database_url, "SELECT version_num FROM robopref_0004.alembic_version") == [("0004",)]
        assert rows(empty_database_url, "SELECT batch_id FROM robopref_0004.batches") == [("production-001",)]
        theirs = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'htx_user'"
        assert rows(empty_database_url, theirs) == [("public",)], "Label Studio may share the database"


def test_a_backup_of_an_earlier_version_is_upgraded_when_it_is_restored(backup: Path, tmp_path: Path) -> None:
    """The backup as that version wrote it: the same, with a database of its revision."""
    old = tmp_path / "old" / "robopref.toml"
    restore(old, backup, Studio())
    (old.parent / "work" / "robopref.db").unlink()
    old_database(f"sqlite:///{old.parent / 'work' / 'robopref.db'}", "0005")
    database = (old.parent / "work" / "robopref.db").read_bytes()
    back_up(old, tmp_path / "c.tar", Studio())
    _replace_database(tmp_path / "c.tar", database)
    new = tmp_path / "new" / "robopref.toml"
    restore(new, tmp_path / "c.tar", Studio())
    ws = Workspace.open(new)
    assert [batch.batch_id for batch in ws.store.batches()] == ["production-001"]
    assert (ws.root / "robopref.db.0005").exists()
    ws.store.close()


def _replace_database(path: Path, database: bytes) -> None:
    import hashlib

    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    members["database.sqlite3"] = database
    about = json.loads(members["backup.json"])
    about["sha256"]["database.sqlite3"] = hashlib.sha256(database).hexdigest()
    members["backup.json"] = json.dumps(about).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
