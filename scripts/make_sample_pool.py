"""Make the sample pool: robot episodes of five sources in Meta-World, as a LeRobot v3.0 dataset.

The pool in examples/pool is what this makes without options. Needs the extra `sim`, and for videos an off-screen
OpenGL (Debian: libegl1, libgl1-mesa-dri).

    python scripts/make_sample_pool.py --out /tmp/pool --tasks hammer-v3 --episodes 500 --no-video
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sample_pool.lerobot_writer import write_dataset
from sample_pool.rollout import Camera, Rollout, make_environment, roll_out
from sample_pool.sources import SOURCES, clone_behaviour, demonstrate, policies_for

from preference.artifacts import replacing
from preference.errors import UserError
from preference.work import console, progress

TASKS = ("drawer-open-v3", "door-open-v3")
POOL = Path(__file__).resolve().parent.parent / "examples" / "pool"


def episodes_of(task: str, count: int, seed: int, size: int) -> Iterator[Rollout]:
    """`count` episodes of one task, spread evenly over the sources, in random order.

    Mixed, because an episode's number is in its trajectory id, which people see.

    Args:
        size: Width and height of the frames; 0 = no video.
    """
    rng = np.random.default_rng([seed, *task.encode()])
    environment, variations = make_environment(task, seed)
    observations, actions = demonstrate(environment, variations, task, rng)
    makers = policies_for(task, clone_behaviour(observations, actions, seed))
    order = rng.permutation([SOURCES[i % len(SOURCES)] for i in range(count)])
    camera = Camera(environment, size) if size else None
    for number, source in enumerate(order):
        variation = variations[int(rng.integers(len(variations)))]
        policy = makers[source](rng)
        yield roll_out(environment, variation, policy, task=task, source=source, seed=number, make_frame=camera)
    if camera is not None:
        camera.close()


def check(tasks: list[str], video: bool) -> None:
    """Say what is missing before any work is done.

    Raises:
        UserError: the extra is not installed, or a task does not exist.
    """
    if video:
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        from metaworld.policies import ENV_POLICY_MAP
    except ImportError as error:
        raise UserError(
            f"Meta-World cannot be imported: {error}.",
            fix="pip install -c constraints.txt -e '.[sim]'; for videos: apt-get install libegl1 libgl1-mesa-dri",
        ) from None
    if unknown := sorted(set(tasks) - set(ENV_POLICY_MAP)):
        known = ", ".join(sorted(ENV_POLICY_MAP))
        raise UserError(f"There is no Meta-World task {unknown[0]!r}.", fix=f"There are: {known}.")


def main(
    tasks: Annotated[str, typer.Option(help="Meta-World v3 tasks, with commas between them.")] = ",".join(TASKS),
    episodes: Annotated[int, typer.Option(min=5, help="Episodes per task, spread over the five sources.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed makes the same pool.")] = 0,
    video: Annotated[
        bool, typer.Option("--video/--no-video", help="Without videos it is about 30 times faster.")
    ] = True,
    size: Annotated[int, typer.Option(min=64, help="Width and height of the videos, even.")] = 240,
    out: Annotated[Path, typer.Option(help="The dataset's folder; replaced when it exists.")] = POOL,
) -> None:
    """Make robot episodes of five sources in Meta-World, as a LeRobot v3.0 dataset."""
    warnings.filterwarnings("ignore", message="Constant.s. may be too high")
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    try:
        check(names, video)
        with replacing(out) as temporary, progress("Episodes", len(names) * episodes) as advance:

            def counted() -> Iterator[Rollout]:
                for task in names:
                    for rollout in episodes_of(task, episodes, seed, size if video else 0):
                        yield rollout
                        advance(1)

            temporary.mkdir()
            write_dataset(temporary, counted())
            if (out / "README.md").exists():
                (temporary / "README.md").write_bytes((out / "README.md").read_bytes())
    except UserError as error:
        console.print(f"make_sample_pool: {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(f"{len(names) * episodes} episodes in {out}")


if __name__ == "__main__":
    typer.run(main)
