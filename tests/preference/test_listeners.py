"""A secret goes to a server of this user's own, never to a program of another user that took its port."""

import os
import socket

import pytest
from process_maker import foreign_server

from preference import listeners
from preference.errors import StudioError
from preference.listeners import check_own, foreign_listener

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program of another user")


@pytest.fixture(params=["from Linux's tables", "from this user's processes"])
def way(request, monkeypatch, tmp_path):
    """The two ways to find out; the second one is that of other systems."""
    if request.param != "from Linux's tables":
        monkeypatch.setattr(listeners, "SOCKETS", (tmp_path / "none", tmp_path / "none"))


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::"])
def own(request):
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family, dualstack_ipv6=family == socket.AF_INET6) as server:
        yield server.getsockname()[1]


def test_ones_own_server_and_a_free_port_are_nobody_elses(way, own):
    assert foreign_listener(own) == ""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert foreign_listener(free.getsockname()[1]) == ""


def test_a_server_of_another_user_is_named(way, own, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    assert foreign_listener(own)
    with pytest.raises(StudioError, match=f"http://127.0.0.1:{own} should be the backend, but a program of"):
        check_own(f"http://127.0.0.1:{own}", "the backend", error=StudioError)


@ROOT_ONLY
def test_a_server_that_another_user_really_runs_is_named(way, tmp_path):
    with foreign_server(tmp_path / "log") as port:
        assert foreign_listener(port) in ("the user nobody", "another user")


def test_what_listens_on_another_address_only_is_not_asked_about(monkeypatch, tmp_path):
    line = "   0: {}:4E21 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {} 0 1 1 0 100 0 0 10 0\n"
    table = tmp_path / "tcp"
    monkeypatch.setattr(listeners, "SOCKETS", (table, tmp_path / "none"))
    here, elsewhere = listeners._hexadecimal("127.0.0.1"), listeners._hexadecimal("10.0.0.5")
    table.write_text("  sl  local_address\n" + line.format(elsewhere, 4_000_000))
    assert foreign_listener(0x4E21) == ""
    table.write_text("  sl  local_address\n" + line.format(here, 4_000_000))
    assert foreign_listener(0x4E21) == "the user 4000000"
