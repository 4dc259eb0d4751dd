"""The base install asks, pulls and checks without the extras; what needs one says in a sentence how to get it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from lerobot_maker import Made, make_dataset

from preference.errors import EXTRAS, MissingExtra, UserError, explained, needs

ROOT = Path(__file__).resolve().parents[2]
BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""
COMMANDS = """
import json, os, sys, traceback
from typer.testing import CliRunner
from robopref.cli import app

told = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what worker processes print is not an answer
for line in sys.stdin:
    run = CliRunner().invoke(app, json.loads(line))
    unexpected = () if isinstance(run.exception, SystemExit | None) else traceback.format_exception(run.exception)
    said = {"returncode": run.exit_code, "stdout": run.stdout, "stderr": run.stderr + "".join(unexpected)}
    print(json.dumps(said), file=told)
"""
"""One process runs all commands: each of its own would spend a second and more on the imports."""
ANSWERS = "pair_id,annotator_id,preference\n" + "".join(
    f"p{pair},{who},{'AB'[pair % 2]}\n" for pair in range(12) for who in ("ann", "ben")
)


EPISODES = 20
CONFIG = """workers = 2
[annotators]
expert = "eve@example.org"
people = ["ann@example.org", "ben@example.org"]
[calibration]
pairs = 8
training_pairs = 2
[pairs]
batch = 20
[label_studio]
url = "http://127.0.0.1:1"
[[pool.dataset]]
path = "data"
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A project on a small pool, as seen from an installation without extras, worker processes included."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(f"BLOCKED = {sorted(EXTRAS)}\n{BLOCK}")
    (folder / "answers.csv").write_text(ANSWERS)
    (folder / "recorded").mkdir()
    (folder / "recorded" / "run_1.mcap").touch()
    make_dataset(folder / "data", [Made(rows=30 + i, still=5, jerk=0.01 * i) for i in range(EPISODES)])
    (folder / "robopref.toml").write_text(CONFIG)

    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS], cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip

        def run(*arguments):
            print(json.dumps(arguments), file=process.stdin, flush=True)
            return SimpleNamespace(**json.loads(process.stdout.readline()))

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def pool(base):
    run = base("pool", "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, ""),
        (["init", "-c", "other.toml"], 0, "Wrote other.toml"),
        (["init", "lab/kitchen", "-c", "hub.toml"], 2, "the Hugging Face hub's client: pip install"),
        (["clips"], 0, f"{EPISODES} clips rendered"),
        (["calibration", "build"], 0, "robopref push"),
        (["pairs", "--plan"], 0, "Nothing was created"),
        (["push"], 1, "127.0.0.1:1"),
        (["pull"], 0, "0 answers fetched"),
        (["status"], 0, "Next: `robopref"),
        (["certify"], 3, ""),
        (["qc"], 3, "There is no batch yet"),
        (["qc", "--judgments", "answers.csv", "--out", "report"], 0, "24 judgments of 12 pairs by 2 annotators"),
        (["resolve"], 0, "0 of 0 pairs"),
        (["batch", "list"], 0, "Batches"),
        (["models"], 0, "Reward models"),
        (["release", "verify", "nowhere.tar.gz"], 1, "File not found: nowhere.tar.gz"),
        (["doctor"], 1, 'pip install "robopref[mcap,ml,s3,scale,studio]"'),
        (["pool", "inspect", "recorded"], 2, 'the reader of MCAP files: pip install "robopref[mcap]"'),
    ],
)
def test_the_base_install_asks_pulls_and_checks(base, pool, arguments, code, said):
    run = base(*arguments)
    assert "Traceback" not in run.stderr, run.stderr
    assert run.returncode == code, run.stderr
    assert said in run.stdout + run.stderr


@pytest.mark.parametrize("arguments", [["train"], ["worker"], ["train", "--finetune"]])
def test_a_command_that_needs_an_extra_says_how_to_get_it(base, arguments):
    run = base(*arguments)
    assert run.returncode == 2
    assert 'This needs PyTorch: pip install "robopref[ml]"' in run.stderr
    assert "Traceback" not in run.stderr


def test_the_demo_names_label_studio_first(base):
    run = base("demo")
    assert run.returncode == 2
    assert 'This needs Label Studio: pip install "robopref[studio]"' in run.stderr


def test_only_the_missing_packages_of_an_extra_are_excused(monkeypatch):
    assert explained(ModuleNotFoundError(name="torch.typo")) is None, "a bug of ours: torch is there"
    monkeypatch.setattr("preference.errors.installed", lambda module: module != "torch")
    assert isinstance(explained(ModuleNotFoundError(name="torch.nn")), MissingExtra)
    monkeypatch.undo()
    assert explained(ModuleNotFoundError(name="preference.typo")) is None
    needs("torch")


def test_every_extra_that_is_named_is_one_of_ours():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, (_, extra) in EXTRAS.items():
        names = {requirement.split(">")[0].split("=")[0].replace("-", "_") for requirement in extras[extra]}
        assert any(name.startswith(module) for name in names)  # mcap_ros2 is in mcap-ros2-support
    assert issubclass(MissingExtra, UserError)
