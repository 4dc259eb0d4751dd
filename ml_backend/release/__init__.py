"""The release: one versioned package that the policy team uses the same day.

`release` is the stage, `build_release` what it calls, `verify_release` checks a folder or an archive on any machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_backend.release.build import ReleaseResult
    from ml_backend.release.verify import VerifyResult
    from preference.workspace import Workspace

__all__ = ["build_release", "release", "verify_release"]


def release(ws: Workspace, version: str) -> ReleaseResult:
    """The stage: resolved preferences and the active model as `robopref-NAME-VERSION` under work/releases."""
    return build_release(ws, version)


def build_release(ws: Workspace, version: str) -> ReleaseResult:
    from ml_backend.release import build

    return build.build_release(ws, version)


def verify_release(path: Path) -> VerifyResult:
    from ml_backend.release import verify

    return verify.verify_release(path)
