"""Every command explains itself, a mistake is one clear message with its exit code, and scripts get JSON."""

import inspect
import json
import os
import signal
import subprocess
import sys

import pytest
import typer.main
from cli_maker import robopref
from lerobot_maker import Made, make_dataset
from process_maker import PATIENCE_S

from preference.records import Rejection
from preference.workspace import Workspace
from robopref.cli import app
from robopref.doctor import _unseen

COMMANDS = sorted(typer.main.get_command(app).commands)
STAGES = {
    "batch",
    "init", "pool", "clips", "pairs", "push", "pull", "qc", "certify", "resolve", "train", "rank", "round", "release",
    "models", "validate", "export", "serve", "simulate", "demo", "doctor", "worker", "calibration", "annotators",
    "adjudicate", "backup", "restore", "plan", "status", "up", "import", "migrate", "health",
    "adopt",
}  # fmt: skip

EPISODES = 40


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project as `robopref init` leaves it, with two people."""
    folder = tmp_path_factory.mktemp("project")
    make_dataset(folder / "pool", [Made(rows=40 + i, still=5, jerk=0.02 * i) for i in range(EPISODES)])
    assert robopref("init", "pool", cwd=folder).returncode == 0
    path = folder / "robopref.toml"
    text = path.read_text().replace("people = []", 'people = ["ann@example.org", "ben@example.org"]')
    text = text.replace('expert = ""', 'expert = "eve@example.org"').replace(":8080", ":1")
    path.write_text(text.replace("size = 480", "size = 96"))  # which take half the time to render
    return folder


def test_a_file_that_may_not_be_used_is_one_line(monkeypatch, capsys):
    def refuses(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", "/work/clips/a.mp4")

    monkeypatch.setattr(Workspace, "open", refuses)
    with pytest.raises(SystemExit) as left:
        app(["clips"])
    assert left.value.code == 1
    assert f"Permission denied: /work/clips/a.mp4; this runs as user {os.geteuid()}." in capsys.readouterr().err


def test_every_stage_is_a_command():
    assert set(COMMANDS) == STAGES


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    command_object = typer.main.get_command(app).commands[command]
    assert command_object.help
    assert all(parameter.help for parameter in command_object.params if parameter.name != "help")


def test_the_reason_for_a_decision_is_why_everywhere():
    groups = [typer.main.get_command(app).commands[name] for name in ("annotators", "batch", "certify")]
    options = [p for group in groups for command in group.commands.values() for p in command.params]
    asked = [p.opts for p in options if p.name in ("by", "why", "reason")]
    assert {tuple(opts) for opts in asked} == {("--by",), ("--why",)}


ENDS_OTHERWISE = {
    "init",
    "serve",
    "worker",
    "demo",
    "status",
    "pool inspect",
    "plan",
    "backup",
    "restore",
    "certify allow",
    "migrate",
    "health",
    "release push",
}
"""Run until they are stopped, are about no state of the project, or say it in words of their own."""


def test_every_command_ends_with_its_successor():
    def leaves(group, name=""):
        for key, one in getattr(group, "commands", {}).items():
            yield f"{name}{key}", one
            yield from leaves(one, f"{name}{key} ")

    silent = {
        name
        for name, command in leaves(typer.main.get_command(app))
        if (own := inspect.unwrap(command.callback) if command.callback else None)
        and not set(own.__code__.co_names) & {"follow", "then", "_tell"}
    }
    assert silent == ENDS_OTHERWISE


LIGHT = {"annotated_doc", "annotated_types", "attr", "click", "markdown_it", "mdurl", "numpy", "pydantic"}
LIGHT |= {"pydantic_core", "pygments", "rich", "shellingham", "typer", "typing_extensions", "typing_inspection"}
"""The third-party packages that `--help` may load."""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["init", "--help"]])
def test_help_is_quick_because_nothing_heavy_is_imported(arguments):
    """No clock: what is loaded decides, and stays the same on every machine."""
    code = (
        "import sys; before = set(sys.modules); from robopref.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print('loaded', *new - set(sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    help_text, _, loaded = run.stdout.rpartition("loaded ")
    assert "Usage" in help_text
    found = {name for name in loaded.split() if not name.startswith("_")}
    assert found - LIGHT == {"preference", "robopref"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense"], 2, "No such command"),
        (["qc", "--colour"], 2, "No such option"),
        (["qc", "--judgments", "a.csv", "--batch", "production-001"], 2, "give one of the two"),
        (["pool", "-c", "nowhere.toml"], 2, "robopref init"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path, arguments, code, said):
    run = robopref(*arguments, cwd=tmp_path)
    assert run.returncode == code
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_fresh_project_can_plan_before_it_has_an_expert_and_calibration_asks_for_one(tmp_path):
    assert robopref("init", cwd=tmp_path).returncode == 0
    planned = robopref("pairs", "--plan", cwd=tmp_path)
    assert planned.returncode == 3 and "robopref pool" in planned.stderr
    calibration = robopref("calibration", "build", cwd=tmp_path)
    assert calibration.returncode == 3 and "names no expert and no annotators" in calibration.stderr
    pool = robopref("pool", cwd=tmp_path)
    assert pool.returncode == 2
    assert "robopref.toml: pool.dataset[0].path: " in pool.stderr and "does not exist" in pool.stderr


def test_init_does_not_overwrite(project):
    before = (project / "robopref.toml").read_text()
    run = robopref("init", cwd=project)
    assert run.returncode == 2
    assert "already exists" in run.stderr
    assert (project / "robopref.toml").read_text() == before


@pytest.mark.parametrize(
    "arguments",
    [["clips"], ["certify"], ["qc"], ["train"], ["rank"], ["round"], ["release", "--version", "1.0.0"]],
)
def test_a_stage_before_its_time_is_exit_code_3_and_names_the_one_before(tmp_path, arguments):
    (tmp_path / "robopref.toml").write_text("[label_studio]\nurl = 'http://127.0.0.1:1'\n")
    run = robopref(*arguments, cwd=tmp_path)
    assert "Traceback" not in run.stderr
    assert run.returncode in ((1, 3) if arguments == ["round"] else (3,)), run.stderr


def test_the_first_stages_run_twice_and_do_nothing_the_second_time(project):
    pool = robopref("pool", "--json", cwd=project)
    assert json.loads(pool.stdout)["trajectories"] == EPISODES
    manifest = (project / "work" / "pool" / "manifest.csv").read_bytes()
    first = json.loads(robopref("clips", "--json", cwd=project).stdout)
    second = json.loads(robopref("clips", "--json", cwd=project).stdout)
    assert (first["rendered"], second["rendered"], second["kept"]) == (EPISODES, 0, EPISODES)
    assert robopref("pool", cwd=project).returncode == 0
    assert (project / "work" / "pool" / "manifest.csv").read_bytes() != manifest  # now it names the clips
    batches = json.loads(robopref("calibration", "build", "--json", cwd=project).stdout)["batches"]
    assert [row["batch"] for row in batches] == ["training", "calibration-1", "calibration-2"]
    again = json.loads(robopref("calibration", "build", "--json", cwd=project).stdout)["batches"]
    assert again == batches


def test_label_studio_that_is_down_is_one_clear_message(project):
    run = robopref("push", cwd=project)
    assert run.returncode == 1
    assert "127.0.0.1:1" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_plan_says_what_a_batch_would_ask_and_makes_none(project):
    plan = json.loads(robopref("pairs", "--plan", "--json", cwd=project).stdout)
    assert plan["pairs"] == 50 and plan["strata"] == {"adjacent": 20, "same": 15, "distant": 15}
    assert plan["shared"]["ann"]["ben"] == 50 and plan["reserve"] == [8, 10]
    shown = robopref("pairs", "--plan", cwd=project)
    assert "Nothing was created" in shown.stdout and "8 to 10 more pairs" in shown.stdout
    assert "fewer than 5" in shown.stderr
    assert robopref("qc", cwd=project).returncode == 3, "planning made a batch"


def test_production_before_certification_is_refused(project):
    run = robopref("pairs", cwd=project)
    assert run.returncode == 3
    assert "certif" in run.stderr


def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(project):
    run = robopref("doctor", "--json", cwd=project)
    findings = json.loads(run.stdout)["findings"]
    assert any(f["level"] == "good" and f"{EPISODES} episodes" in f["what"] for f in findings)
    assert any(f["level"] == "bad" and "Label Studio" in f["what"] and f["fix"] for f in findings)
    assert run.returncode == 1


def test_the_doctor_names_the_clips_that_could_not_be_shown_and_to_whom(planned_batch):
    """As pull finds it; "left" is trajectory A in this plan. Nobody's words are repeated."""
    skips = {1: "skipped: missing clip: left", 2: "skipped: missing clip: left and right [red]", 3: "skipped"}
    planned_batch.store.set_tasks([(f"x{number}", 1, number) for number in skips])
    planned_batch.store.put_judgments([], [Rejection(10 + n, n, why) for n, why in skips.items()])
    found = [finding for finding in _unseen(planned_batch) if finding.level == "bad"]
    assert [finding.what for finding in found] == [
        "Clips that could not be shown: t1 (to ann), t2 (to ann), t3 (to ann)."
    ]
    assert "robopref clips" in found[0].fix


def test_a_port_that_is_taken_is_one_clear_message(project, tmp_path):
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        config = tmp_path / "robopref.toml"
        config.write_text(f"[service]\nport = {holder.getsockname()[1]}\n")
        run = robopref("serve", "-c", config, cwd=tmp_path)
    assert run.returncode == 1
    assert "cannot listen" in run.stderr


def test_an_open_address_without_a_password_is_refused(tmp_path):
    (tmp_path / "robopref.toml").write_text("[service]\nhost = '0.0.0.0'\n")
    run = robopref("serve", cwd=tmp_path)
    assert run.returncode == 1
    assert "ROBOPREF_SERVICE_PASSWORD" in run.stderr


def hear_ctrl_c():
    """A shell starts background jobs, and so perhaps the tests, deaf to SIGINT; a terminal's programs hear it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_is_calm(tmp_path):
    (tmp_path / "robopref.toml").write_text("[service]\nport = 0\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "robopref", "serve"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    for line in process.stderr:
        if "ML backend on" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(PATIENCE_S) == 130
    assert "Traceback" not in rest
    assert "Stopped" in rest


@pytest.mark.parametrize(
    "command",
    [
        ["plan", "--target", "5"],
        ["plan", "--people", "-1"],
        ["export", "lerobot", "out", "--best", "2"],
        ["rank", "--count", "0"],
        ["batch", "accept", "production-001"],
        ["release", "--version", "banana"],
    ],
)
def test_an_option_that_cannot_be_used_is_wrong_usage(tmp_path, command):
    (tmp_path / "robopref.toml").touch()
    assert robopref(*command, cwd=tmp_path).returncode == 2


def test_the_doctor_says_beside_its_other_checks_that_the_work_folder_cannot_be_used(tmp_path):
    from robopref.doctor import examine

    (tmp_path / "file").touch()
    config = tmp_path / "robopref.toml"
    config.write_text('work = "file/work"\n')
    *others, last = examine(config)
    assert last.level == "bad" and "cannot be created" in last.what
    assert any(found.what.startswith("ffmpeg") for found in others)


def test_the_doctor_counts_closed_training_pairs_as_no_rejections(tmp_path):
    from preference.records import SETTLED, Rejection
    from preference.workspace import Workspace
    from robopref.doctor import examine

    config = tmp_path / "robopref.toml"
    config.touch()
    ws = Workspace.open(config)
    for rejections, said in (([Rejection(1, 1, SETTLED)], []), ([Rejection(2, 2, "skipped: dark")], ["1 answer was"])):
        ws.store.put_judgments([], rejections)
        assert [found.what[:12] for found in examine(config) if "rejected" in found.what] == said


def test_the_doctor_says_whether_the_plugin_is_there_and_finds_all_it_needs(label_studio, tmp_path, monkeypatch):
    from importer.studio.client import LabelStudio
    from robopref.doctor import examine

    config = tmp_path / "robopref.toml"
    config.write_text(f'[label_studio]\nurl = "{label_studio.url}"\ntoken = "{label_studio.token}"\n')
    health = {"made_for": "1.23.2", "server": [], "screen": []}

    def findings(health):
        said = health or {"screen": []}
        monkeypatch.setattr(LabelStudio, "plugin_health", lambda _: health)
        return [
            (found.level, found.fix)
            for found in examine(config)
            if ("plugin" in found.what and "installed" not in found.what) or found.what in said["screen"]
        ]

    monkeypatch.chdir(tmp_path)
    assert "made_for" in LabelStudio.plugin_health(connect_to(config))
    assert findings(health) == [("good", "")]
    ((level, fix),) = findings(health | {"screen": ["The submit button is gone."]})
    assert level == "bad"
    assert "Run Label Studio 1.23.2" in fix
    (level, fix), (_, lengthen) = findings(None)
    assert level == "note"
    assert "DJANGO_SETTINGS_MODULE" in fix and "clips.equal_length" in lengthen


def connect_to(config):
    from importer.studio.client import connect
    from preference.workspace import Workspace

    return connect(Workspace.open(config))
