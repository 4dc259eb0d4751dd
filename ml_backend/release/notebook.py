"""A Python file with `# %%` cells in, a Jupyter notebook (nbformat 4.5) out, the same bytes each time.

Notebooks are kept as plain Python in the repository, so that they can be read, linted and diffed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def to_notebook(source: str) -> dict[str, Any]:
    """The notebook of `source`; `# %% [markdown]` begins a cell of commented Markdown, `# %%` one of code."""
    cells = []
    for number, block in enumerate(("\n" + source).split("\n# %%")[1:]):
        head, _, body = block.partition("\n")
        body = body.strip("\n")
        if "[markdown]" in head:
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.splitlines()]
            cells.append(_cell(number, "markdown", "\n".join(lines)))
        else:
            cells.append(_cell(number, "code", body) | {"execution_count": None, "outputs": []})
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def dumps(notebook: dict[str, Any]) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    # nbformat 4.5 wants an id; a random one would make every release differ
    identity = hashlib.sha256(f"{number}{text}".encode()).hexdigest()[:8]
    return {"cell_type": kind, "id": identity, "metadata": {}, "source": text.splitlines(keepends=True)}
