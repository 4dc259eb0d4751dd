"""The servers that `robopref up` runs for a work folder: what other commands need to find them without any setting.

work/servers.json, mode 0600. It outlives the servers, which come back with the same ports and secrets.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preference.artifacts import keep_private, read_json, write_json
from preference.errors import ConfigError, DataError

FILE = "servers.json"


class Servers(BaseModel):
    """Label Studio and the ML backend on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    studio_url: str = Field(pattern=r"^http://127\.0\.0\.1:\d{1,5}$")
    token: str = Field(repr=False)
    """Of Label Studio's manager."""
    service_port: int
    password: str = Field(repr=False)
    """Of the ML backend."""
    webhook_secret: str = Field(repr=False)
    console_secret: str = Field(default="", repr=False)
    """Goes from Label Studio's plugin to the ML backend, with a manager's request and nothing else."""


def read_servers(work: Path) -> Servers | None:
    """What `robopref up` noted in the work folder; None where it never ran.

    Raises:
        ConfigError: the file is damaged, or belongs to somebody else.
    """
    path = work / FILE
    if not path.exists():
        return None
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid():
        fix = "Run as its owner; or delete it, then run `robopref up`, which writes it again."
        raise ConfigError(f"{path} is a link or another user's file, but holds addresses and secrets.", fix=fix)
    keep_private(path)
    fix = "Delete it, then run `robopref up --stop` and `robopref up`, which writes it again."
    try:
        return Servers.model_validate(read_json(path))
    except ValidationError as error:
        wrong = ", ".join(str(item["loc"][0]) if item["loc"] else "everything" for item in error.errors())
        raise ConfigError(f"{path} was edited, or is of another version; wrong in it: {wrong}.", fix=fix) from None
    except DataError as error:
        raise ConfigError(error.message, fix=fix) from None


def write_servers(work: Path, servers: Servers) -> None:
    """Keep them, for its owner's eyes only."""
    write_json(work / FILE, servers.model_dump(), private=True)
