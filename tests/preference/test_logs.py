"""A log line is text for a person or one JSON object, names the request that caused it, and cannot be forged."""

import json
import subprocess
import sys

import pytest

from preference import logs

SPEAK = """
import logging, sys, warnings
from preference import logs
from preference.work import console, output, remark
logs.set_up(sys.argv[1])
log = logging.getLogger("robopref.test")
with logs.request("r-1"):
    logs.tell(log, "stored", task=12, who="eve\\nINFO forged \\x1b[2J")
remark("a remark [with] brackets\\nin two lines")
console.print("[bold]bold[/]")
output.print("a result")
logging.getLogger("waitress").warning("queue depth is %d", 3)
warnings.warn("old")
log.debug("not said")
raise RuntimeError("a crash")
"""


def spoken(form):
    done = subprocess.run([sys.executable, "-c", SPEAK, form], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ("" if form == "json" else "a result\n")
    return done.stderr.splitlines()


def test_with_json_every_line_is_one_object_even_a_crash():
    lines = [json.loads(line) for line in spoken("json")]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    stored = next(line for line in lines if line["message"] == "stored")
    assert stored["request_id"] == "r-1" and stored["task"] == 12 and stored["who"] == "eve\nINFO forged \x1b[2J"
    said = [line["message"] for line in lines]
    assert "a remark [with] brackets" in said and "bold" in said and "a result" in said and "queue depth is 3" in said
    assert any("UserWarning: old" in text for text in said)
    assert lines[-1]["level"] == "critical" and "RuntimeError: a crash" in lines[-1]["traceback"]
    assert "not said" not in said


def test_a_text_line_can_neither_be_forged_nor_move_the_cursor():
    lines = spoken("text")
    stored = next(line for line in lines if "stored" in line)
    assert "request_id=r-1" in stored and "task=12" in stored and "info robopref.test" in stored
    assert "forged" in stored and "\x1b" not in stored
    assert not any(line.startswith("INFO forged") for line in lines)


@pytest.mark.parametrize("given", ["", None, "a b", "x" * 65, "a\r\nX-Evil: 1", "ü", "../../etc\0"])
def test_an_id_that_a_log_cannot_hold_is_replaced(given):
    made = logs.new_request_id(given, kind="pull")
    assert made != given and made.startswith("pull-")
    assert logs.new_request_id(given) != logs.new_request_id(given)


def test_a_good_id_is_kept():
    assert logs.new_request_id("4bf92f35-77b3.4da6:1") == "4bf92f35-77b3.4da6:1"


def test_requests_nest_and_end():
    with logs.request("outer"):
        with logs.request("inner"):
            assert logs.request_id() == "inner"
        assert logs.request_id() == "outer"
    assert logs.request_id() == ""
