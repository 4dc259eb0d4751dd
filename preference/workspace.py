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

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preference.artifacts import check_writable
from preference.config import Bucket, Config, is_server
from preference.config_file import load_config
from preference.errors import UserError
from preference.work import Workers

if TYPE_CHECKING:
    from preference.store import Store

SQLITE = "robopref.db"


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
            raise UserError(f"The work folder {workspace.root} cannot be created: {error.strerror}.") from None
        check_writable(workspace.root, "The work folder")
        own = [] if is_server(workspace.database) else [workspace.root / SQLITE]
        for file in (*own, *workspace.root.glob("*.lock")):
            if file.exists():  # one command run by root is enough to leave files that their user may not write
                check_writable(file, "The file", whole=workspace.root)
        return workspace

    @cached_property
    def store(self) -> Store:
        from preference.store import Store

        return Store.open(self.database, patience_s=self._patience_s)

    @property
    def database(self) -> str:
        """The database's URL; it may hold a password."""
        return self.config.database.get_secret_value() or f"sqlite:///{self.root / SQLITE}"

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that one stage's draws never shift another's."""
        return np.random.default_rng([self.config.seed, *purpose.encode()])

    @cached_property
    def salt(self) -> int:
        """The secret of what annotators see: `salt` in robopref.toml, otherwise the one that the database keeps."""
        return self.config.salt or self.store.salt()

    def secret_rng(self, purpose: str) -> np.random.Generator:
        """As `rng`, for draws that annotators must not be able to repeat: whose seed is secret."""
        return np.random.default_rng([self.salt, *purpose.encode()])

    @property
    def workers(self) -> Workers:
        """Where work on many trajectories runs."""
        return Workers(self.config.workers, self.config.executor, self._bucket())

    def _bucket(self) -> Bucket | None:
        """By way of which a cluster gets files; its keys are those of the clips' bucket where it has none."""
        settings, clips = self.config.cluster, self.config.label_studio.s3
        if not settings.bucket or settings.access_key.get_secret_value():
            return settings if settings.bucket else None
        return settings.model_copy(update={"access_key": clips.access_key, "secret_key": clips.secret_key})

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
