"""What leaves the house: the release, one versioned package that the policy team can use the same day, and exports.

`build_release(ws, version)`: resolved preferences and the active model in, `robopref-NAME-VERSION` under work/releases
out. `verify_release(path)`: a folder or an archive in, whether every byte is as it was released out.

| file | idea |
| --- | --- |
| `build` | the release as a folder, an archive and a checksum |
| `gather` | what goes in, checked to belong together |
| `preferences` | the released tables, without anybody's name; chosen and rejected trajectories for DPO |
| `onnx` | the ONNX file |
| `safetensors` | the weights for other frameworks, and LeRobot's config.json |
| `hub` | a release as repositories of the Hugging Face hub |
| `card` | what the card states, its plots, and the same for machines |
| `archive` | the archive, and its verification |
| `versions` | which version comes next |
| `adopt`, `adopted_answers` | a release that another team continues |
| `lerobot`, `lerobot_tables` | a LeRobot dataset of the pool with the model's rewards |
| `templates/` | the card's text, inference.py, the notebook |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from release.archive import VerifyResult, verify_release

if TYPE_CHECKING:
    from release.build import ReleaseResult, VersionTaken, build_release

__all__ = ["ReleaseResult", "VerifyResult", "VersionTaken", "build_release", "verify_release"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from release import build  # which imports torch

    return getattr(build, name)
