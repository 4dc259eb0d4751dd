"""What annotators write cannot move a manager's cursor, hide a line or colour the terminal."""

import json

import pytest
from paths import ROOT
from typer.testing import CliRunner

from ml_backend.reward.encoder_weights import WITHOUT_A_HUB
from preference.errors import UserError
from preference.work import remark, terminal
from robopref import show
from robopref.cli import app

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m[red]bad[/red]\u202eright\r\x08\x00\ud800 \\"


def harmless(text):
    return not any(ord(c) < 32 and c not in "\n\t" for c in text) and not set("\x7f\x9b\u202e\ud800") & set(text)


def test_text_loses_control_characters_and_keeps_its_brackets():
    assert harmless(terminal(EVIL))
    assert terminal("[red]x") == "\\[red]x"
    assert terminal("fünf Paare, 3 − 2") == "fünf Paare, 3 − 2"


@pytest.mark.parametrize(
    "shown",
    [
        lambda: show.say(EVIL),
        lambda: show.say(EVIL, "yellow"),
        lambda: show.warn([EVIL]),
        lambda: remark(EVIL),
        lambda: show.table(EVIL, ["who"], [[EVIL]]),
        lambda: show.record({"reason": EVIL}, as_json=False),
    ],
)
def test_every_way_to_show_something_is_safe(shown, capfd):
    shown()
    said = "".join(capfd.readouterr())
    assert harmless(said) and "[red]bad" in said


def test_the_extra_in_a_hint_stays_readable(capfd):
    """Rich took [weights] for markup, and `pip install 'robopref'` is another command."""
    remark(WITHOUT_A_HUB)
    assert "pip install 'robopref[weights]'" in capfd.readouterr().err
    rooms = ("release", "ml_backend", "importer", "qc_reports")
    files = (path for room in rooms for path in (ROOT / room).rglob("*.py"))
    raw = [path.name for path in files if '"[yellow]' in path.read_text()]
    assert not raw, "`preference.work.remark` prints these"


def test_json_stays_json_and_says_the_same(capfd):
    show.print_json({"reason": EVIL})
    said = capfd.readouterr().out
    assert harmless(said)
    assert json.loads(said) == {"reason": EVIL}


def test_errors_are_safe(capfd, monkeypatch):
    def fail(*_, **__):
        raise UserError(EVIL, fix=EVIL)

    monkeypatch.setattr("preference.workspace.Workspace.open", fail)
    with pytest.raises(SystemExit):
        app(["pull"])
    said = capfd.readouterr().err
    assert harmless(said) and "[red]bad" in said


def test_a_terminal_that_knows_no_tick_gets_an_escape(tmp_path):
    (tmp_path / "robopref.toml").write_text("")
    run = CliRunner(charset="latin-1").invoke(app, ["doctor", "--config", str(tmp_path / "robopref.toml")])
    assert isinstance(run.exception, SystemExit) and "\\u2713 Robopref" in run.stdout
