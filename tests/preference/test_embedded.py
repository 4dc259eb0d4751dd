"""work/servers.json is believed only if this user wrote it, and only about this machine."""

import json
import os

import pytest

from preference.embedded import FILE, Servers, read_servers, write_servers
from preference.errors import ConfigError

HERE = Servers(studio_url="http://127.0.0.1:20001", token="t", service_port=20002, password="p", webhook_secret="w")


def test_what_was_written_is_read_and_nothing_else_is_there_before(tmp_path):
    assert read_servers(tmp_path) is None
    write_servers(tmp_path, HERE)
    assert read_servers(tmp_path) == HERE
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["http://evil.example:80", "http://127.0.0.1:1@evil.example", ""])
def test_another_machine_is_refused(tmp_path, url):
    write_servers(tmp_path, HERE)
    (tmp_path / FILE).write_text(json.dumps({**HERE.model_dump(), "studio_url": url}))
    with pytest.raises(ConfigError, match="wrong in it: studio_url"):
        read_servers(tmp_path)


def test_a_link_and_another_users_file_are_refused(tmp_path, monkeypatch):
    write_servers(tmp_path / "own", HERE)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / FILE).symlink_to(tmp_path / "own" / FILE)
    with pytest.raises(ConfigError, match="is a link or another user's file"):
        read_servers(tmp_path / "linked")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    with pytest.raises(ConfigError, match="is a link or another user's file"):
        read_servers(tmp_path / "own")
