"""The work folder of one project: its configuration, its database, and where each file lives.

work/robopref.db             the database (unless a URL names another)
work/pool/                   manifest.csv, failures.csv, a picture of the pool
work/clips/                  one mp4 per trajectory
work/features/               cached frame features
work/models/VERSION/         one reward model each
work/curves/VERSION/         how its training went, for TensorBoard
work/checkpoints/            trainings that are under way
work/reports/BATCH/          qc.json and report.html
work/preferences.jsonl       the resolved labels
work/releases/               what the policy team gets
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preference.config import Config, load_config
from preference.errors import DiskFull, UserError
from preference.work import Workers

if TYPE_CHECKING:
    from preference.store import Store


class Workspace:
    """What every stage is handed.

    Args:
        patience_s: How long a write to the database waits for others.
    """

    def __init__(self, config: Config, *, patience_s: float = 30.0) -> None:
        self.config = config
        self.root = config.work
        self._patience_s = patience_s

    @classmethod
    def open(cls, config_path: Path, *, patience_s: float = 30.0) -> Workspace:
        """The workspace that `config_path` (a robopref.toml) describes; made where it does not exist yet."""
        workspace = cls(load_config(config_path), patience_s=patience_s)
        try:
            workspace.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The work folder {workspace.root} cannot be made: {error.strerror}.") from None
        return workspace

    @cached_property
    def store(self) -> Store:
        from preference.store import Store

        url = self.config.database.get_secret_value() or f"sqlite:///{self.root / 'robopref.db'}"
        return Store.open(url, patience_s=self._patience_s)

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that one stage's draws never shift another's."""
        return np.random.default_rng([self.config.seed, *purpose.encode()])

    @property
    def workers(self) -> Workers:
        """Where work on many trajectories runs."""
        return Workers(self.config.workers, self.config.executor)

    @property
    def manifest(self) -> Path:
        return self.root / "pool" / "manifest.csv"

    @property
    def clips(self) -> Path:
        return self.root / "clips"

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def curves(self) -> Path:
        return self.root / "curves"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def preferences(self) -> Path:
        return self.root / "preferences.jsonl"

    @property
    def releases(self) -> Path:
        return self.root / "releases"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    So a file (or a folder made at the temporary path) exists only when it is complete, whenever the run is killed.

    Raises:
        DiskFull: there is no space for it.
    """
    with told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = path.parent / f".{path.name}.{secrets.token_hex(8)}"  # a name first: no Ctrl-C can fall in between
        try:
            holder.mkdir(mode=0o700)
            temporary = holder / path.name
            yield temporary
            if temporary.is_dir() and path.is_dir():
                path.rename(holder / f"{path.name}.old")
            os.replace(temporary, path)
        finally:
            try:
                shutil.rmtree(holder, ignore_errors=True)
            except BaseException:  # Ctrl-C in the middle of it
                shutil.rmtree(holder, ignore_errors=True)
                raise


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """What the system says of a full disk, or of a used-up quota, while `path` is written, as a `DiskFull`.

    Raises:
        DiskFull: there is no space.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"No space left on the disk for {path}.", fix="Free some and run again.") from None
        raise


def confined(root: Path, relative: str | Path, *links: Path) -> Path:
    """`root / relative`, resolved; an error where that leaves `root`.

    Args:
        links: Folders outside `root` that a link inside it may lead to.

    Raises:
        UserError: the path is absolute, or climbs out by `..` or by a link.
    """
    resolved = (root / relative).resolve()
    climbs = Path(relative).is_absolute() or ".." in Path(relative).parts
    allowed = [root] if climbs else [root, *links]
    if not any(resolved.is_relative_to(folder.resolve()) for folder in allowed):
        raise UserError(f"The path {str(relative)!r} leads out of {root}.", fix="Paths must stay inside the folder.")
    return resolved
