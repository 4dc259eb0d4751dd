"""Secrets come from the environment or from files, whatever characters they have; what is wrong is one sentence."""

import os

import pytest
import sqlalchemy as sa
from disk_maker import as_nobody

from preference.config_file import load_config, studio_database
from preference.errors import ConfigError, StoreError, UserError
from preference.secret_files import read_secret
from preference.workspace import Workspace

AWKWARD = "p@ss:w/%#rd ?&é'\"\\"


@pytest.fixture
def config(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("ROBOPREF_")]:
        monkeypatch.delenv(name)
    (tmp_path / "robopref.toml").write_text("")
    return tmp_path / "robopref.toml"


def test_a_file_gives_the_secret_without_its_line_end(tmp_path):
    (tmp_path / "secret").write_text(f"{AWKWARD}\n")
    assert read_secret("X", {"X_FILE": str(tmp_path / "secret")}) == AWKWARD
    assert read_secret("X", {"X": AWKWARD}) == AWKWARD
    assert read_secret("X", {}) == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist"), ("", "found none"), ("a\nb\n", "found 2"), (b"\xff", "not text")],
)
def test_a_file_that_is_no_secret_is_named(tmp_path, content, said):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=said) as caught:
        read_secret("ROBOPREF_X", {"ROBOPREF_X_FILE": str(path)})
    assert "ROBOPREF_X_FILE" in caught.value.message and str(path) in caught.value.message
    assert caught.value.fix and "\n" not in str(caught.value)


def test_the_folder_that_docker_makes_for_a_missing_file_is_explained(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        read_secret("X", {"X_FILE": str(tmp_path)})


def test_two_sources_of_one_secret_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="X and X_FILE are both set"):
        read_secret("X", {"X": "a", "X_FILE": str(tmp_path)})


def test_a_password_with_any_character_reaches_the_database(config, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text(AWKWARD)
    monkeypatch.setenv("ROBOPREF_DATABASE_URL", "postgresql://robopref@db:5433/robopref?sslmode=require")
    monkeypatch.setenv("ROBOPREF_DATABASE_PASSWORD_FILE", str(tmp_path / "secret"))
    url = sa.make_url(load_config(config).database.get_secret_value())
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "robopref", AWKWARD, "db", 5433, "robopref"
    )  # fmt: skip
    assert url.query == {"sslmode": "require"}


def test_label_studios_database_has_a_password_of_its_own(config, monkeypatch):
    assert studio_database() == ""
    monkeypatch.setenv("ROBOPREF_STUDIO_DATABASE_URL", "postgresql://label_studio@db/label_studio")
    monkeypatch.setenv("ROBOPREF_STUDIO_DATABASE_PASSWORD", AWKWARD)
    assert sa.make_url(studio_database()).password == AWKWARD


def test_an_at_sign_in_a_urls_password_is_explained_and_not_shown(config, monkeypatch):
    monkeypatch.setenv("ROBOPREF_DATABASE_URL", "postgresql://robopref:top@secret@db/robopref")
    with pytest.raises(ConfigError, match="ROBOPREF_DATABASE_URL: the password has an @") as caught:
        load_config(config)
    assert "ROBOPREF_DATABASE_PASSWORD_FILE" in caught.value.fix and "top" not in str(caught.value)


def test_a_database_that_cannot_be_reached_is_one_line_that_names_the_settings(config, monkeypatch):
    """The driver's own words are three lines."""
    monkeypatch.setenv("ROBOPREF_DATABASE_URL", "postgresql://robopref@127.0.0.1:9/robopref")
    monkeypatch.setenv("ROBOPREF_DATABASE_PASSWORD", AWKWARD)
    with pytest.raises(StoreError, match=r"cannot be used: .*Connection refused") as caught:
        Workspace.open(config).store.batches()
    said = str(caught.value)
    assert "\n" not in said and "ROBOPREF_DATABASE_URL" in said and "ROBOPREF_DATABASE_PASSWORD_FILE" in said
    assert "p@ss" not in said and ".." not in said


def test_a_url_with_a_password_takes_no_second_one(config, monkeypatch):
    monkeypatch.setenv("ROBOPREF_DATABASE_URL", "postgresql://robopref:old@db/robopref")
    monkeypatch.setenv("ROBOPREF_DATABASE_PASSWORD", "new")
    with pytest.raises(ConfigError, match="ROBOPREF_DATABASE_PASSWORD: the URL has a password already"):
        load_config(config)


def test_links_for_people_start_with_the_public_address(config, monkeypatch):
    monkeypatch.setenv("ROBOPREF_LABEL_STUDIO_URL", "http://label-studio:8080/")
    monkeypatch.setenv("ROBOPREF_SERVICE_URL", "http://backend:9090")
    found = load_config(config)
    assert (found.label_studio.address, found.service.address) == ("http://label-studio:8080", "http://backend:9090")
    monkeypatch.setenv("ROBOPREF_PUBLIC_URL", "https://label.example.org/")
    monkeypatch.setenv("ROBOPREF_SERVICE_PUBLIC_URL", "https://label.example.org")
    found = load_config(config)
    assert found.label_studio.address == found.service.address == "https://label.example.org"
    assert found.label_studio.url == "http://label-studio:8080/", "programs go on using the inner one"
    monkeypatch.setenv("ROBOPREF_PUBLIC_URL", "label.example.org")
    with pytest.raises(ConfigError, match=r"public_url: expected an address .*'label\.example\.org'"):
        load_config(config)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_work_folder_of_another_user_is_said_with_both_users(config, tmp_path):
    (tmp_path / "work").mkdir()
    with (
        as_nobody(tmp_path),
        pytest.raises(UserError, match=r"The work folder .* belongs to user 0, .* as user 65534") as caught,
    ):
        Workspace.open(config)
    assert f"chown --recursive 65534 {tmp_path / 'work'}" in caught.value.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("left", ["robopref.db", "worker.lock"])
def test_a_file_that_root_left_in_ones_own_work_folder_is_said_too(config, tmp_path, left):
    work = tmp_path / "work"
    work.mkdir()
    (work / left).touch(mode=0o600)
    os.chown(work, 65534, 65534)
    with (
        as_nobody(tmp_path),
        pytest.raises(UserError, match=rf"The file .*{left} belongs to user 0, .* as user 65534") as caught,
    ):
        Workspace.open(config)
    assert f"chown --recursive 65534 {work})" in caught.value.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_database_file_of_before_stands_in_nobodys_way_on_postgresql(config, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    (work / "robopref.db").touch(mode=0o600)
    os.chown(work, 65534, 65534)
    monkeypatch.setenv("ROBOPREF_DATABASE_URL", "postgresql://robopref@127.0.0.1:1/robopref")
    with as_nobody(tmp_path):
        assert Workspace.open(config).root == work
