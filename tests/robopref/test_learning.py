"""`train` and `round` wait for whoever is learning, and say whom they wait for."""

import threading

from preference.activity import telling
from preference.config import Config
from preference.locks import LEARNING, exclusively, taken
from preference.workspace import Workspace
from robopref.commands.learning import _turn


def test_a_command_says_whom_it_waits_for_and_tells_what_it_does(tmp_path, capsys):
    ws = Workspace(Config.model_validate({"work": tmp_path / "work"}))
    ws.root.mkdir()
    let_go = threading.Event()
    held = threading.Event()

    def worker():
        with exclusively(ws, LEARNING), telling(ws, "Looking for new answers"):
            held.set()
            let_go.wait(30)

    other = threading.Thread(target=worker)
    other.start()
    assert held.wait(30)
    threading.Timer(1.0, let_go.set).start()
    with _turn(ws, "Training"):
        other.join()
        assert taken(ws, LEARNING)
        activity = ws.store.activity()
        assert activity is not None
        assert activity.doing == "Training"
    assert not taken(ws, LEARNING)
    assert ws.store.activity() is None
    assert "Waiting for another process: Looking for new answers." in capsys.readouterr().err
