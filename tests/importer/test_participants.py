"""People from outside: a signed link makes an annotator, once and never more; who did their part gets a code."""

import csv
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from importer.studio import participants
from importer.studio.participants import completion_code, export_participants, finish_outside, invitation, join, key_of
from importer.studio.replies import StudioProject
from labeling_config.contract import completion_of
from preference.errors import StudioError, UserError
from preference.records import Assignment, Batch, Judgment, Pair, Trajectory
from preference.workspace import Workspace
from robopref.join import PER_LINK, TOGETHER, Limit
from robopref.service import create_app

TOML = """
[annotators]
outside = 2
outside_pairs = 3
[service]
url = "https://annotate.example.org"
password = "pw"
"""


class Studio:
    """What these functions need of Label Studio."""

    def __init__(self):
        self.users, self.described, self.plugin = {}, {7: "Production"}, True

    def plugin_health(self):
        return {} if self.plugin else None

    def ensure_user(self, email, password):
        self.users.setdefault(email, password)

    def projects(self, ids):
        return [StudioProject(p, "Production", self.described[p], "planned", 0, 0) for p in ids]

    def describe(self, project, description):
        self.described[project] = description


@pytest.fixture
def studio(monkeypatch):
    made = Studio()
    monkeypatch.setattr(participants, "connect", lambda ws: made)
    return made


@pytest.fixture
def ws(tmp_path):
    (tmp_path / "robopref.toml").write_text(TOML)
    made = Workspace.open(tmp_path / "robopref.toml")
    yield made
    made.store.close()


def answers(ws, name, count):
    """Production answers of somebody who has joined."""
    ws.store.put_trajectories([Trajectory(f"t{i}", "d", i, "expert", "push") for i in range(count + 1)])
    pairs = [Pair(f"p{i}", f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001") for i in range(count)]
    own = [Assignment(f"x{i}", f"p{i}", name, "production-001", i, "A", project_id=7, task_id=i + 1)
           for i in range(count)]  # fmt: skip
    ws.store.put_pairs(Batch("production-001", "production"), pairs, own)
    ws.store.put_judgments([Judgment(a.assignment_id, name, a.pair_id, "A", 3, 9000) for a in own])


def test_a_link_makes_one_annotator_and_shows_the_same_account_again(ws, studio):
    link = invitation(ws, "P1001")
    assert link == f"https://annotate.example.org/join?participant=p1001&key={key_of(ws, 'p1001')}"
    made = join(ws, "P1001", key_of(ws, "p1001"))
    assert (made.email, made.code, made.wanted) == ("outside-p1001@annotators.example", "", 3)
    assert studio.users == {made.email: made.password} and len(made.password) == 20
    assert join(ws, "p1001", key_of(ws, "p1001")) == made
    (person,) = ws.store.annotators()
    assert (person.role, person.active) == ("annotator", True) and "participant p1001" in person.added


@pytest.mark.parametrize("participant", ["p1002", "", "../p1001", "p1001 ", "P1001\0", "p" * 99, "p1001@x", "é"])
def test_a_link_that_is_not_ours_makes_nothing(ws, studio, participant):
    key = key_of(ws, "p1001")
    if participant.strip() != "p1001":
        assert join(ws, participant, key) is None
    for wrong in ("", key[:-1], key.upper(), "é", key + "0"):
        assert join(ws, "p1001", wrong) is None
    assert studio.users == {} and ws.store.annotators() == []


def test_there_are_as_many_places_as_the_settings_say_and_none_without_the_plugin_or_by_default(ws, studio):
    studio.plugin = False
    with pytest.raises(StudioError, match="with the plugin"):
        join(ws, "a", key_of(ws, "a"))
    assert studio.users == {}
    studio.plugin = True
    assert join(ws, "a", key_of(ws, "a")) and join(ws, "b", key_of(ws, "b"))
    with pytest.raises(UserError, match="All places are taken"):
        join(ws, "c", key_of(ws, "c"))
    ws.config.annotators.outside = 0
    with pytest.raises(UserError, match="Nobody may join"):
        join(ws, "a", key_of(ws, "a"))
    with pytest.raises(UserError, match="Nobody may join"):
        invitation(ws, "a")


def test_of_two_who_join_at_once_one_gets_the_last_place(ws, studio):
    assert join(ws, "a", key_of(ws, "a"))
    together = threading.Barrier(2)
    made = studio.ensure_user

    def slowly(email, password):
        time.sleep(0.3)  # Label Studio takes longer than the look at who is there
        made(email, password)

    studio.ensure_user = slowly

    def enter(name):
        together.wait()
        try:
            return join(ws, name, key_of(ws, name)) is not None
        except UserError as error:
            return error.message

    with ThreadPoolExecutor(2) as pool:
        assert sorted(map(str, pool.map(enter, ("b", "c")))) == ["All places are taken.", "True"]
    assert len(ws.store.annotators()) == 2 and len(studio.users) == 2


def test_who_has_done_their_part_is_paused_and_gets_a_code_that_the_export_has_too(ws, studio, tmp_path):
    join(ws, "p1", key_of(ws, "p1"))
    join(ws, "p2", key_of(ws, "p2"))
    answers(ws, "outside-p1", 2)
    assert finish_outside(ws) == []
    answers(ws, "outside-p1", 3)
    code = completion_code(ws, "p1")
    assert finish_outside(ws) == ["outside-p1"] and finish_outside(ws) == []
    assert completion_of(studio.described[7]) == code == join(ws, "p1", key_of(ws, "p1")).code
    assert code != completion_code(ws, "p2") and code not in (key_of(ws, "p1"), "")
    assert not {a.annotator_id: a.active for a in ws.store.annotators()}["outside-p1"]
    assert export_participants(ws, tmp_path / "out.csv") == 2
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [(r["participant"], r["production_answers"], r["completion_code"]) for r in rows] == [
        ("p1", "3", code), ("p2", "0", ""),
    ]  # fmt: skip


def test_the_page_makes_nothing_before_the_button_and_takes_few_tries(ws, studio):
    client = create_app(ws).test_client()
    link = invitation(ws, "p1").removeprefix("https://annotate.example.org")
    shown = client.get(link)
    assert shown.status_code == 200 and "Make my account" in shown.text and ws.store.annotators() == []
    assert client.get(link[:-1]).status_code == 403
    done = client.post("/join", data={"participant": "p1", "key": key_of(ws, "p1")})
    assert done.status_code == 200 and "outside-p1@annotators.example" in done.text
    assert done.headers["Cache-Control"] == "no-store"
    assert client.post("/join", data={"participant": "p1", "key": "x"}).status_code == 403
    codes = [client.get(link).status_code for _ in range(PER_LINK)]
    assert codes[-1] == 429
    assert client.get("/reports").status_code == 401, "the rest asks for its password"


def test_without_the_setting_there_is_no_such_page(ws, studio):
    ws.config.annotators.outside = 0
    assert create_app(ws).test_client().get("/join?participant=p1&key=x").status_code == 401


def test_the_limit_forgets_after_an_hour_and_holds_for_all_together():
    now = [0.0]
    limit = Limit(clock=lambda: now[0])
    assert [limit.takes("a") for _ in range(PER_LINK + 1)].count(True) == PER_LINK
    taken = sum(limit.takes(f"address {i}") for i in range(2 * TOGETHER))
    assert PER_LINK + taken == TOGETHER
    now[0] = 3601.0
    assert limit.takes("a")
