"""Damage files at random and read them: `python fuzz_maker.py FOLDER COUNT SEED`, in a process with little memory.

Each line on stdout is a case before it is tried, so that the last one tells what ended the process. Whatever the
damage, a reader gives a result or its own error: anything else is raised here.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from format_maker import make_folder, make_lerobot_v2, make_robomimic, make_robosuite
from inference_maker import inference
from lerobot_maker import Made, make_dataset
from mcap_maker import make_mcap

from importer.pairs.pair_file import read_pairs
from importer.pool import hdf5, read_episode, read_pool
from importer.pool.video import clean_frames
from preference.artifacts import read_csv, read_json, read_jsonl
from preference.config import Clips, Dataset, Pool
from preference.errors import UserError, installed
from qc_reports.report.judgments_file import read_judgments_csv
from release.archive import verify_release, write_archive, write_sums

MEMORY = 2 << 30
"""Bytes of RLIMIT_DATA; the tests' machines have at least twice as much."""
SECONDS = 30
"""Longest time for one case; undamaged ones take a tenth of a second."""
EPISODES = [Made(rows=12, still=2), Made(rows=9, still=2), Made(rows=10, still=2)]
NAMED: dict[str, Made] = dict(zip("abc", EPISODES, strict=True))
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TEXTS = (
    b"[" * 50_000,
    b'"\\ud800"',
    b"1e999",
    b"-1",
    b"NaN",
    b"9" * 5000,
    b"\0",
    b"null",
    b"{}",
    b"../../x",
    b"\xff\xfe",
)
POOLS: dict[str, Callable[[Path], Path]] = {
    "lerobot_v3": lambda root: make_dataset(root, EPISODES, size=(64, 48)),
    "lerobot_v2": lambda root: make_lerobot_v2(root, EPISODES),
    "robomimic": lambda root: make_robomimic(root / "d.hdf5", EPISODES),
    "robosuite": lambda root: make_robosuite(root / "d.hdf5", EPISODES),
    "npz": lambda root: make_folder(root, NAMED),
    "parquet": lambda root: make_folder(root, NAMED, table="parquet"),
    "csv": lambda root: make_folder(root, NAMED, table="csv", frames=True),
}
if installed("mcap"):
    POOLS["mcap"] = lambda root: make_mcap(root, EPISODES)
COLUMNS = {"camera": "", "actions": [["action", [0, 1]]], "state": [["observation.state", [0, 1]]]}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The same bytes after one kind of harm: flips, a cut, an extreme number, a hole, a piece twice, or a text."""
    spoilt = bytearray(data)
    at = rng.randrange(len(data) or 1)
    match rng.randrange(7) if data else 6:
        case 0 | 1:
            for _ in range(rng.choice((1, 1, 2, 8, 64))):
                spoilt[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 2:
            del spoilt[at:]
        case 3:
            size, code = rng.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
            spoilt[at : at + size] = struct.pack(rng.choice("<>") + code, rng.choice(EXTREMES) & (256**size - 1))
        case 4:
            end = at + rng.randrange(1, 200)
            spoilt[at:end] = bytes(len(spoilt[at:end]))
        case 5:
            spoilt[at:at] = spoilt[at : at + rng.randrange(1, 2000)]
        case _:
            spoilt[at : at + rng.randrange(8)] = rng.choice(TEXTS)
    return bytes(spoilt)


def spoil(file: Path, others: list[Path], outside: Path, rng: random.Random) -> str:
    """Harm `file`, and say how; every tenth time it becomes a link, a pipe, a folder, or another file's content."""
    if rng.random() > 0.1:
        file.write_bytes(damaged(file.read_bytes(), rng))
        return "damaged"
    file.unlink()
    kind = rng.choice(("link", "loop", "pipe", "folder", "other", "gone"))
    if kind == "link":
        file.symlink_to(outside)
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "other":
        file.write_bytes(rng.choice(others).read_bytes())
    return kind


def cases(folder: Path, make: Callable[[Path], Path], count: int, rng: random.Random) -> Iterator[tuple[str, Path]]:
    """(what was done, the dataset) `count` times, each time in a dataset that was sound before."""
    sound = make(folder / "sound")
    files = sorted(path for path in (folder / "sound").rglob("*") if path.is_file())
    outside = folder / "outside.bin"
    shutil.copy(rng.choice(files), outside)
    for number in range(count):
        root = folder / f"case-{number}"
        shutil.copytree(folder / "sound", root)
        said = []
        for file in rng.sample(files, min(len(files), rng.choice((1, 1, 1, 2)))):
            relative = file.relative_to(folder / "sound")
            said.append(f"{relative} {spoil(root / relative, files, outside, rng)}")
        yield ", ".join(said), root / sound.relative_to(folder / "sound")
        shutil.rmtree(root)


def make_release(root: Path) -> Path:
    folder = root / "robopref-x-1.0.0"
    (folder / "plots").mkdir(parents=True)
    for number in range(5):
        (folder / "plots" / f"{number}.txt").write_text("content\n" * number)
    write_sums(folder)
    write_archive(folder, root / "robopref-x-1.0.0.tar.gz", folder.name)
    shutil.rmtree(folder)
    return root / "robopref-x-1.0.0.tar.gz"


def make_episode(root: Path) -> Path:
    root.mkdir(parents=True)
    values = {"actions": np.zeros((9, 2)), "state": np.zeros((9, 4), np.float32), "fps": np.array(10.0)}
    np.savez_compressed(root / "episode.npz", images=np.zeros((9, 8, 8, 3), np.uint8), **values)
    return root / "episode.npz"


def make_table(root: Path) -> Path:
    root.mkdir(parents=True)
    lines = ["pair_id,trajectory_a_id,trajectory_b_id,annotator_id,preference,confidence,response_time_ms"]
    lines += [f"p{i},t{i},t{i + 1},ann,{'AB'[i % 2]},3,4200" for i in range(20)]
    (root / "answers.csv").write_text("\n".join(lines) + "\n")
    return root / "answers.csv"


def verify(archive: Path, _: int) -> None:
    with suppress(UserError):
        verify_release(archive)


def score(episode: Path, _: int) -> None:
    """What the release's inference.py reads."""
    with suppress(inference.InputError):
        inference.load_npz(episode)


def score_dataset(dataset: Path, _: int) -> None:
    for index in (0, 1):
        with suppress(inference.InputError):
            inference.lerobot_episodes(dataset)
            inference.load_lerobot(dataset, index, COLUMNS)


def read_tables(file: Path, _: int) -> None:
    """People's CSV and JSON."""
    for read in (read_csv, read_json, read_jsonl, read_pairs, read_judgments_csv):
        try:
            read(file)
        except UserError as error:
            str(error).encode()


def read_pool_and_frames(dataset: Path, number: int) -> None:
    """All that a pool does with a dataset, frames included."""
    pool = Pool(dataset=[Dataset(path=dataset, name=f"d{number}", source="expert")])
    result = read_pool(pool, Clips())
    if not result.trajectories and not result.failures:
        raise RuntimeError("neither an episode nor a failure")
    for failure in result.failures:
        str(failure).encode()
        if not str(failure).isprintable():
            raise RuntimeError(f"not one line: {failure!r}")
    for trajectory in result.trajectories:
        with suppress(UserError):
            episode = read_episode(pool, trajectory)
            if episode.video is not None:
                clean_frames(episode, trajectory.start_s, trajectory.end_s, 5.0, 4)


@contextmanager
def in_time() -> Iterator[None]:
    signal.alarm(SECONDS)  # its default action ends the process
    yield
    signal.alarm(0)


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path, int], object]]] = {
    **{name: (make, read_pool_and_frames) for name, make in POOLS.items()},
    "release": (make_release, verify),
    "inference_npz": (make_episode, score),
    "inference_v3": (POOLS["lerobot_v3"], score_dataset),
    "inference_v2": (POOLS["lerobot_v2"], score_dataset),
    "tables": (make_table, read_tables),
}


def main(folder: Path, count: int, seed: int) -> None:
    hdf5.WALK_S = SECONDS / 2
    for name, (make, read) in READERS.items():
        rng = random.Random(f"{seed} {name}")
        for number, (said, dataset) in enumerate(cases(folder / name, make, count, rng)):
            print(name, number, said, flush=True)
            with in_time():
                read(dataset, number)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
