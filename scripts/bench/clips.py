"""Claim: overlay, trimming, freeze and bookkeeping cost at most 30 % over bare ffmpeg transcodes.

In one run, with the same processes: the sample pool's trimmed spans through bare `ffmpeg` to the same size, rate, CRF
and preset, without overlay or freeze; and `robopref clips`. Then a second run over 1,000 finished clips, and the peak
memory, ffmpeg's included, while one episode of ten minutes at 640x480 is rendered.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imageio_ffmpeg
import psutil

from importer.clips.render import PRESET
from importer.pool import build_pool, read_episode
from importer.pool.episode import VideoSpan
from preference.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "makers"))

ROBOPREF = Path(sys.executable).with_name("robopref")
FINISHED = 1000
ATTEMPTS = 2
MINUTES = 10


def workspace(folder: Path, dataset: Path, settings: str = "") -> Workspace:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "robopref.toml").write_text(f'{settings}\n[[pool.dataset]]\npath = "{dataset}"\n')
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    return ws


def bare_seconds(ws: Workspace, folder: Path) -> float:
    """The same spans, one ffmpeg each, as many at a time as there are cores."""
    folder.mkdir()
    jobs = []
    for t in ws.store.trajectories():
        video = read_episode(ws.config.pool, t).video
        if isinstance(video, VideoSpan):
            jobs.append((video.path, video.start_s + t.start_s, t.end_s - t.start_s, folder / f"{t.trajectory_id}.mp4"))
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()

    def transcode(job: tuple[Path, float, float, Path]) -> None:
        source, start, length, target = job
        shape = "fps=15,scale=480:480:force_original_aspect_ratio=decrease,pad=480:480:(ow-iw)/2:(oh-ih)/2"
        cut = ["-ss", f"{start}", "-t", f"{length}", "-threads", "1", "-i", source]
        encode = ["-vf", shape, "-c:v", "libx264", "-preset", PRESET, "-crf", "23", "-threads", "1", target]
        command = [ffmpeg, "-loglevel", "error", *cut, *encode]
        subprocess.run(command, check=True)

    begin = time.perf_counter()
    with ThreadPoolExecutor(ws.workers.processes) as pool:
        list(pool.map(transcode, jobs))
    return time.perf_counter() - begin


def our_seconds(ws: Workspace) -> float:
    """The command as a person runs it, from its start to its end."""
    begin = time.perf_counter()
    subprocess.run([ROBOPREF, "clips", "-c", ws.root.parent / "robopref.toml"], check=True, capture_output=True)
    return time.perf_counter() - begin


def finished_seconds(folder: Path) -> float:
    """A second run over many clips, all of them there: small and short ones, whose number alone counts."""
    from format_maker import make_lerobot_v2
    from lerobot_maker import Made

    dataset = make_lerobot_v2(folder / "many", [Made(rows=6, still=2)] * FINISHED)
    ws = workspace(folder / "many_ws", dataset, "[clips]\nsize = 64\nfreeze_s = 0")
    our_seconds(ws)
    before = {path: path.stat().st_mtime_ns for path in ws.clips.glob("*.mp4")}
    seconds = min(our_seconds(ws) for _ in range(3))
    if len(before) != FINISHED or before != {path: path.stat().st_mtime_ns for path in ws.clips.glob("*.mp4")}:
        raise SystemExit(f"expected {FINISHED} clips that stay as they are, found {len(before)}")
    return seconds


def peak_megabytes(folder: Path) -> float:
    """Largest resident memory of the command and all its children together while a long episode is rendered."""
    from format_maker import make_lerobot_v2
    from lerobot_maker import FPS, Made

    rows = MINUTES * 60 * FPS
    dataset = make_lerobot_v2(folder / "long", [Made(rows=4, still=2)])
    _stretch(dataset, rows)
    ws = workspace(folder / "long_ws", dataset)
    process = subprocess.Popen([ROBOPREF, "clips", "-c", folder / "long_ws" / "robopref.toml"], stderr=subprocess.PIPE)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, _resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, said = process.communicate()
    done.set()
    watcher.join()
    if process.returncode or not list(ws.clips.glob("*.mp4")):
        raise SystemExit(said.decode())
    return peak / 1e6


def _stretch(dataset: Path, rows: int) -> None:
    """Make the one episode `rows` long, with a 640x480 video of moving noise."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from format_maker import v2_video
    from lerobot_maker import FPS

    state = np.cumsum(np.random.default_rng(0).normal(size=(rows, 4)), axis=0).astype(np.float32)
    table = {"observation.state": list(state), "action": list(state[:, :2]), "episode_index": np.zeros(rows, int)}
    table["timestamp"] = (np.arange(rows) / FPS).astype(np.float32)
    file = dataset / "data" / "chunk-000" / "episode_000000.parquet"
    pq.write_table(pa.table({name: pa.array(values) for name, values in table.items()}), file)
    source = f"testsrc2=size=640x480:rate={FPS}:duration={rows / FPS}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "lavfi", "-i", source]
    subprocess.run([*command, "-preset", "ultrafast", "-pix_fmt", "yuv420p", v2_video(dataset, 0)], check=True)


def _resident(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [parent, *parent.children(recursive=True)])
    except psutil.Error:
        return 0


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ws = workspace(folder / "sample", ROOT / "examples" / "pool")
        bare, ours = math.inf, math.inf
        for attempt in range(ATTEMPTS):
            bare = min(bare, bare_seconds(ws, folder / f"bare_{attempt}"))
            shutil.rmtree(ws.clips, ignore_errors=True)
            ours = min(ours, our_seconds(ws))
        count = len(list(ws.clips.glob("*.mp4")))
        figures = {"bare_s": bare, "robopref_s": ours, "ratio": ours / bare, "clips": count}
        both = f"bare ffmpeg {bare:.1f} s, robopref clips {ours:.1f} s, ratio {ours / bare:.2f}"
        print(f"{count} clips on {os.cpu_count()} cores: {both}")
        figures["second_run_s"] = finished_seconds(folder)
        print(f"second run over {FINISHED} finished clips: {figures['second_run_s']:.2f} s")
        figures["peak_mb"] = peak_megabytes(folder)
        print(f"peak memory, {MINUTES} minutes at 640x480, all processes together: {figures['peak_mb']:.0f} MB")
    met = figures["ratio"] <= 1.3 and figures["second_run_s"] < 1 and figures["peak_mb"] < 400
    target = "ratio ≤ 1.3; second run over 1,000 clips < 1 s; peak < 400 MB"
    print(json.dumps({"name": "clips", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
