"""Print what an image installs before the code is copied, one requirement a line, from pyproject.toml.

    python requirements.py label-studio    Label Studio, its server, and what the plugin imports
    python requirements.py robopref        the base install, [ml], [weights], [s3] and [mcap], torch apart
    python requirements.py torch           torch and torchvision, which come from an index of their own

So that a change of the code installs nothing again.
"""

import re
import sys
import tomllib
from pathlib import Path

PLUGIN = ("httpx", "jinja2", "markdown-it-py", "pandas", "psutil", "psycopg", "pydantic")
"""What `labeling_config` and what it imports of `preference` need besides Label Studio; a test compares."""
TORCH = ("torch", "torchvision")


def requirements(image: str, project: dict) -> list[str]:
    base, extras = project["dependencies"], project["optional-dependencies"]
    if image == "label-studio":
        return [*extras["studio"], *extras["server"], *(one for one in base if _name(one) in PLUGIN)]
    if image == "torch":
        return [one for one in extras["ml"] if _name(one) in TORCH]
    if image == "robopref":
        others = [one for one in extras["ml"] if _name(one) not in TORCH]
        return ["hatchling>=1.25", *base, *others, *extras["weights"], *extras["s3"], *extras["mcap"]]
    raise SystemExit(f"requirements.py: no such image: {image}")


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=~! ;]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    pyproject = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))
    sys.stdout.write("\n".join(requirements(sys.argv[1], pyproject["project"])) + "\n")
