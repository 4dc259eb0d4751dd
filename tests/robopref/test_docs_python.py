"""The examples of docs/python.md run as they stand; those that need Label Studio are held to names that exist."""

import ast
import importlib
import re

import pytest
from lerobot_maker import Made, make_dataset
from paths import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
EPISODES = 40
SETTINGS = """
[clips]
size = 64
[calibration]
pairs = 8
training_pairs = 2
[annotators]
expert = "eve@example.org"
people = ["ann@example.org", "bo@example.org", "chi@example.org"]
[[pool.dataset]]
path = "examples/pool"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    # a smaller pool than the one that is there in a checkout, and rendered in a quarter of the time
    make_dataset(tmp_path / "examples" / "pool", [Made(rows=40 + i, still=5, jerk=0.02 * i) for i in range(EPISODES)])
    (tmp_path / "robopref.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run_as_they_stand(project, capsys):
    names = {}
    offline = [block for block in BLOCKS if "studio.push" not in block]
    assert len(offline) == len(BLOCKS) - 1
    for block in offline:
        exec(compile(block, "docs/python.md", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{EPISODES} 50 {{'ann': ") and said[1].startswith("{'ann': ")
    assert said[2] in ("A", "B") and said[3].startswith("(")
    names["ws"].store.close()


def test_every_name_that_an_example_imports_exists():
    for block in BLOCKS:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    found = hasattr(module, alias.name)
                    assert found or importlib.util.find_spec(f"{node.module}.{alias.name}"), alias.name
