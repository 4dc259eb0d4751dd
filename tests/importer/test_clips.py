"""Clips as people see them, and clean frames as the reward model sees them.

Each frame of the test videos carries its own number, so that what is shown can be compared with what should be.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from lerobot_maker import FPS, Made, make_dataset, number_of, video_path
from paths import ROOT, SAMPLE_POOL
from PIL import Image

from importer.clips.build import build_clips, render_clips
from importer.clips.plan import moving_frames, plan
from importer.clips.render import closed_spans
from importer.clips.watermark import code_of, find, watermark_of
from importer.pool import build_pool, read_episode, read_pool
from importer.pool.dataset import open_dataset
from importer.pool.video import clean_frames, sample_rows
from preference.config import Clips, Dataset, Pool
from preference.errors import ConfigError, DataError, UserError
from preference.work import HERE
from preference.workspace import Workspace

EPISODES = [
    Made(rows=60, still=30, done=45, source="expert"),
    Made(rows=90, still=25, success=False, source="random", gripper=(np.arange(90) // 20 % 2).astype(float)),
    Made(rows=70, still=40, done=65, source="novice"),
    Made(rows=40, still=5, task="push", source="novice"),
]
STARTS = [0, 60, 150, 220]
SMALL = "[clips]\nsize = 96\n"
"""Rendered in half the time, for tests of everything but the picture."""


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with four finished clips; tests that change it make their own."""
    return rendered(tmp_path_factory.mktemp("clips"))


def rendered(folder: Path, **make) -> Workspace:
    made = workspace(folder, **make)
    build_pool(made)
    result = build_clips(made)
    assert (result.rendered, result.failures) == (4, [])
    return made


def workspace(folder: Path, settings: str = "", **make) -> Workspace:
    if not (folder / "tiny").exists():
        make_dataset(folder / "tiny", EPISODES, **make)
    text = f'work = "work"\nworkers = 2\nsalt = 5\n{settings}\n[[pool.dataset]]\npath = "tiny"\n'
    (folder / "robopref.toml").write_text(text)
    return Workspace.open(folder / "robopref.toml")


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def picture(frame: np.ndarray, width: int = 160, height: int = 120) -> np.ndarray:
    """The letterboxed picture inside a square frame."""
    size = frame.shape[0]
    inner = size * height // width
    return frame[(size - inner) // 2 : (size + inner) // 2]


# -- clips ---------------------------------------------------------------------------------------------------------


def test_a_clip_is_h264_high_yuv420p_of_the_protocols_size_and_rate(ws: Workspace) -> None:
    for t in ws.store.trajectories():
        with av.open(str(ws.root / t.clip)) as container:
            (stream,) = container.streams
            assert isinstance(stream, av.VideoStream)
            codec = stream.codec_context
            found = (codec.name, stream.profile, codec.pix_fmt, codec.width, codec.height, stream.average_rate)
            assert found == ("h264", "High", "yuv420p", 480, 480, 15)


def test_a_browser_can_start_and_seek_at_once(ws: Workspace) -> None:
    """The index comes before the frames, there is a keyframe every second, and frames come in the order shown."""
    for t in ws.store.trajectories():
        path = ws.root / t.clip
        head = path.read_bytes()
        assert head.index(b"moov") < head.index(b"mdat")
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.pts is not None]
        assert [p.pts for p in packets] == [p.dts for p in packets]
        assert [i for i, p in enumerate(packets) if p.is_keyframe] == list(range(0, len(packets), 15))


def test_a_clip_is_its_span_and_two_seconds_of_freeze_or_as_long_as_the_longest_where_asked(ws: Workspace) -> None:
    pool, clips = ws.store.trajectories(), ws.config.clips
    for t in pool:
        assert len(frames_of(ws.root / t.clip)) == moving_frames(t, clips) + 30
    assert len({moving_frames(t, clips) for t in pool}) > 1
    jobs, _ = plan(pool, ws.config.pool, clips.model_copy(update={"equal_length": True}), ws.clips, 1)
    longest: dict[str, int] = {}
    for t in pool:
        longest[t.task_type] = max(longest.get(t.task_type, 0), moving_frames(t, clips) + 30)
    assert [job.frames for job in jobs] == [longest[t.task_type] for t in pool]


def test_a_clip_shows_the_trimmed_span_of_its_own_episode_and_then_stands_still(ws: Workspace) -> None:
    for t, start, made in zip(ws.store.trajectories(), STARTS, EPISODES, strict=True):
        shown = [number_of(picture(frame)) for frame in frames_of(ws.root / t.clip)]
        moving = moving_frames(t, ws.config.clips)
        expected = start + np.round((t.start_s + np.arange(moving) / 15) * FPS)
        assert np.abs(np.array(shown[:moving]) - expected).max() <= 1
        assert min(shown) >= start and max(shown) < start + made.rows
        last = min(start + made.rows - 1, start + round(t.end_s * FPS) - 1)
        assert set(shown[moving + 1 :]) <= {last, last - 1} and len(set(shown[moving + 1 :])) == 1


def test_a_picture_that_is_not_square_is_letterboxed_not_stretched(ws: Workspace) -> None:
    frame = frames_of(ws.root / ws.store.trajectories()[0].clip)[0]
    middle = frame[:, 230:250].mean(axis=(1, 2))
    assert (middle[:55] < 12).all() and (middle[425:] < 12).all()
    assert (middle[70:160] > 60).all() and (middle[330:410] > 60).all()


def test_the_overlay_shows_code_time_and_gripper_and_nothing_of_the_source(ws: Workspace) -> None:
    first, second = (frames_of(ws.root / t.clip) for t in ws.store.trajectories()[:2])

    def lit(image: np.ndarray) -> bool:
        return bool((image > 180).any())

    assert lit(first[0][5:25, :140]) and lit(first[0][5:25, 430:]) and lit(first[0][455:475, :140])
    assert not lit(first[0][5:25, 160:400]), "more text than a code and a time"
    assert np.abs(first[0][5:25, 430:].astype(int) - first[8][5:25, 430:]).max() > 100, "the time stands still"
    assert np.abs(first[-1][5:25, 430:].astype(int) - first[-20][5:25, 430:]).max() < 40, (
        "the time runs on in the freeze"
    )
    mark = [frame[455:475, :140].astype(int) for frame in second]
    assert np.abs(mark[0] - mark[45]).max() > 100, "open and closed look the same"


def test_the_corner_shows_a_code_that_only_this_project_resolves(ws: Workspace) -> None:
    ids = [t.trajectory_id for t in ws.store.trajectories()]
    codes = [watermark_of(key, ws.config.clips, ws.salt) for key in ids]
    assert len(set(codes)) == len(ids) and all(re.fullmatch("[2-9A-HJKMNP-TV-Z]{6}", code) for code in codes)
    assert [[t.trajectory_id for t in find(ws, code.lower())] for code in codes] == [[key] for key in ids]
    assert not set(codes) & {code_of(key, ws.salt + 1) for key in ids}
    with pytest.raises(UserError, match="shows the code 222222"):
        find(ws, "222222")


def test_the_corner_shows_the_trajectorys_id_or_nothing_where_that_is_wanted(tmp_path: Path, ws: Workspace) -> None:
    def corner(watermark: str) -> np.ndarray:
        changed = workspace(tmp_path, f'[clips]\nwatermark = "{watermark}"\n')
        build_pool(changed)
        assert build_clips(changed).rendered == 4
        return frames_of(changed.root / changed.store.trajectories()[0].clip)[0][5:25, :160]

    code = frames_of(ws.root / ws.store.trajectories()[0].clip)[0][5:25, :160]
    named, empty = corner("trajectory_id"), corner("none")
    assert (code > 180).any() and (named > 180).any() and empty.max() < 12
    assert np.abs(named.astype(int) - code).max() > 100


def test_gripper_spans_follow_the_rows_and_the_last_lasts_through_the_freeze(ws: Workspace) -> None:
    t = ws.store.trajectories()[1]
    episode = read_episode(ws.config.pool, t)
    spans = closed_spans(episode, 0.0, 4.5)
    assert spans is not None
    assert np.round([s[0] for s in spans], 2).tolist() == [1.0, 3.0]
    assert np.round([s[1] for s in spans], 2).tolist() == [2.0, 4.0]
    held = replace(episode, gripper=np.ones(90))
    assert closed_spans(held, 1.0, 4.5) == [(pytest.approx(0.0, abs=1e-6), 1e6)]
    assert closed_spans(replace(episode, gripper=np.full(90, np.nan)), 0.0, 4.5) is None


@pytest.mark.parametrize("codec", ["mpeg4", "libx265", "libsvtav1"])
def test_other_codecs_become_the_same_clip(tmp_path: Path, codec: str) -> None:
    ws = rendered(tmp_path, codec=codec)
    t = ws.store.trajectories()[2]
    shown = [number_of(picture(frame)) for frame in frames_of(ws.root / t.clip)]
    assert abs(shown[0] - (150 + round(t.start_s * FPS))) <= 1


def test_the_manifest_and_the_rows_know_each_clip_and_its_checksum(ws: Workspace) -> None:
    rows = {t.trajectory_id: t for t in ws.store.trajectories()}
    for t in ws.store.trajectories():
        assert t.clip == f"clips/{t.trajectory_id}.mp4"
        assert t.clip_sha256 == hashlib.sha256((ws.root / t.clip).read_bytes()).hexdigest()
        assert (rows[t.trajectory_id].clip, rows[t.trajectory_id].clip_sha256) == (t.clip, t.clip_sha256)


# -- running again -------------------------------------------------------------------------------------------------


def stamps(ws: Workspace) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in ws.clips.glob("*.mp4")}


def test_a_second_run_does_nothing_and_what_changed_is_rendered_again(tmp_path: Path) -> None:
    ws = rendered(tmp_path)
    before = stamps(ws)
    again = build_clips(ws)
    assert (again.rendered, again.kept) == (0, 4) and stamps(ws) == before
    build_pool(ws)
    assert all(t.clip for t in ws.store.trajectories()), "reading the pool again forgot the clips"

    (ws.clips / "tiny-000001.mp4").unlink()
    (ws.clips / "tiny-000002.mp4").write_bytes(b"cut off")
    assert build_clips(ws).rendered == 2

    smaller = workspace(tmp_path, "[clips]\nsize = 128\n")
    assert build_clips(smaller).rendered == 4
    assert frames_of(ws.clips / "tiny-000000.mp4")[0].shape == (128, 128, 3)


def test_the_same_source_and_settings_give_the_same_bytes(tmp_path: Path, ws: Workspace) -> None:
    again = rendered(tmp_path)
    assert [t.clip_sha256 for t in again.store.trajectories()] == [t.clip_sha256 for t in ws.store.trajectories()]


def test_clips_made_on_ray_are_the_same_bytes(tmp_path: Path, ws: Workspace) -> None:
    pytest.importorskip("ray", reason="pip install 'robopref[scale]'")
    on_ray = workspace(tmp_path, 'executor = "ray"')
    build_pool(on_ray)
    assert build_clips(on_ray).rendered == 4
    assert [t.clip_sha256 for t in on_ray.store.trajectories()] == [t.clip_sha256 for t in ws.store.trajectories()]


STOPPED = 8  # clips


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_whole_clips_and_the_next_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    make_dataset(tmp_path / "tiny", [Made(rows=60, still=20)] * STOPPED)
    ws = workspace(tmp_path, SMALL)
    build_pool(ws)
    code = (
        "import time; from pathlib import Path; from importer.clips.build import build_clips; "
        "from importer.clips.index import ClipIndex; from preference.workspace import Workspace; add = ClipIndex.add; "
        "added = []; ClipIndex.add = lambda self, entry: "  # after the second it waits to be stopped
        "(add(self, entry), added.append(entry), time.sleep(600 * (len(added) > 1))); "
        f"build_clips(Workspace.open(Path({str(tmp_path / 'robopref.toml')!r})))"
    )
    index = ws.clips / "index.jsonl"
    here = ROOT
    process = subprocess.Popen(
        ["nice", "-n", "15", sys.executable, "-c", code],  # so that who watches it comes to its turn
        stderr=subprocess.DEVNULL,
        cwd=here,
        start_new_session=True,
        # a shell starts background jobs, and so perhaps the tests, deaf to SIGINT; a terminal's programs hear it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not (index.exists() and index.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    process.wait(timeout=120)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what a killed parent left
    done = index.read_text().count("\n")
    assert 2 <= done < STOPPED
    if how == signal.SIGINT:
        assert not list(ws.clips.glob(".*.mp4.*")), "half a clip was left"
    result = build_clips(ws)
    assert result.kept >= 2 and result.rendered + result.kept == STOPPED
    assert {len(frames_of(path)) for path in ws.clips.glob("*.mp4")} == {75}


def test_an_index_line_cut_short_by_a_kill_costs_one_clip_only(tmp_path: Path) -> None:
    ws = rendered(tmp_path, settings=SMALL)
    index = ws.clips / "index.jsonl"
    index.write_text(index.read_text()[:-30])
    assert build_clips(ws).rendered == 1
    assert build_clips(ws).rendered == 0


# -- what cannot be rendered ---------------------------------------------------------------------------------------


def test_a_video_that_vanished_fails_its_clips_and_spares_the_others(tmp_path: Path) -> None:
    make_dataset(tmp_path / "other", [Made(rows=30, still=9)])
    ws = workspace(tmp_path, SMALL)
    text = (tmp_path / "robopref.toml").read_text() + '[[pool.dataset]]\npath = "other"\n'
    (tmp_path / "robopref.toml").write_text(text)
    ws = Workspace.open(tmp_path / "robopref.toml")
    build_pool(ws)
    video_path(tmp_path / "other").unlink()
    result = build_clips(ws)
    assert result.rendered == 4
    (failure,) = result.failures
    assert failure.dataset == "other" and failure.file.endswith(".mp4") and "missing" in failure.reason
    assert "missing" in (ws.clips / "failures.csv").read_text()
    assert [t.trajectory_id for t in ws.store.trajectories() if not t.clip] == ["other-000000"]


def test_clips_stay_known_while_the_dataset_is_away(tmp_path: Path) -> None:
    ws = rendered(tmp_path)
    (tmp_path / "tiny").rename(tmp_path / "unmounted")
    with pytest.raises(ConfigError, match="does not exist"):
        build_clips(ws)
    assert all(t.clip for t in ws.store.trajectories())


def test_a_stream_that_ffmpeg_cannot_decode_is_one_clear_line(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    build_pool(ws)
    path = video_path(tmp_path / "tiny")
    data = bytearray(path.read_bytes())
    body = data.index(b"mdat") + 4
    index = data.index(b"moov")
    data[body + 200 : index - 8] = b"\x00" * (index - 8 - body - 200)
    path.write_bytes(data)
    result = render_clips(ws.store.trajectories(), ws.config.pool, ws.config.clips, ws.clips, HERE, salt=ws.salt)
    assert result.rendered == 0 and len(result.failures) == 4
    assert all("ffmpeg cannot make a clip" in f.reason and "\n" not in str(f) for f in result.failures)
    assert not list(ws.clips.glob("*.mp4"))


# -- clean frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(4))
def test_clean_frames_are_the_frames_of_their_rows(ws: Workspace, number: int) -> None:
    """At the start, in the middle and at the end of a file; as recorded, without overlay or letterbox."""
    t = ws.store.trajectories()[number]
    frames, rows = clean_frames(read_episode(ws.config.pool, t), t.start_s, t.end_s, 5.0, 64)
    assert frames.shape == (len(rows), 120, 160, 3) and frames.dtype == np.uint8
    assert [number_of(frame) for frame in frames] == (STARTS[number] + rows).tolist()
    assert np.diff(rows) == pytest.approx(4, abs=1)
    assert rows[0] == round(t.start_s * FPS) and rows[-1] <= t.end_s * FPS
    assert np.abs(frames[:, :30].astype(int) - 96).max() < 12


def test_every_row_can_be_had(ws: Workspace) -> None:
    t = ws.store.trajectories()[2]
    frames, rows = clean_frames(read_episode(ws.config.pool, t), 0.0, 3.5, FPS, 500)
    assert rows.tolist() == list(range(70))
    assert [number_of(frame) for frame in frames] == [150 + row for row in rows]


def test_a_long_span_is_sampled_more_thinly_never_cut_off(ws: Workspace) -> None:
    t = ws.store.trajectories()[1]
    _, rows = clean_frames(read_episode(ws.config.pool, t), 0.0, 4.5, 20.0, 8)
    assert len(rows) == 8 and rows[0] == 0 and rows[-1] == 89


def test_rows_are_the_nearest_and_never_twice() -> None:
    clock = np.array([0.0, 0.1, 0.2, 0.9, 1.0])
    assert sample_rows(clock, 0.0, 1.0, 10.0, 64).tolist() == [0, 1, 2, 3, 4]
    assert sample_rows(np.array([0.0]), 0.0, 0.05, 5.0, 64).tolist() == [0]
    assert sample_rows(np.arange(100) / 20, 1.0, 2.0, 5.0, 64).tolist() == [20, 24, 28, 32, 36, 40]


def test_frames_of_a_video_that_ends_early_are_an_error(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "tiny", [Made(rows=60)])
    episode = open_dataset(Dataset(path=root, name="tiny")).read(0)
    from lerobot_maker import write_video

    write_video(video_path(root), 30)
    with pytest.raises(DataError, match="the video ends before"):
        clean_frames(episode, 0.0, 3.0, 5.0, 64)
    with pytest.raises(DataError, match="no images"):
        clean_frames(replace(episode, video=None), 0.0, 3.0, 5.0, 64)


@pytest.mark.skipif(not (SAMPLE_POOL / "meta").is_dir(), reason="examples/pool is not made yet")
def test_episodes_of_the_sample_pool_become_clips_and_frames(tmp_path: Path) -> None:
    config = Pool(dataset=[Dataset(path=SAMPLE_POOL, name="sample")])
    every = read_pool(config, Clips()).trajectories
    chosen = [every[0], every[len(every) // 2], every[-1]]
    result = render_clips(chosen, config, Clips(), tmp_path / "clips", HERE, salt=1)
    assert (result.rendered, result.failures) == (3, [])
    for t in chosen:
        clip = frames_of(tmp_path / "clips" / f"{t.trajectory_id}.mp4")
        assert clip[0].shape == (480, 480, 3)
        frames, rows = clean_frames(read_episode(config, t), t.start_s, t.end_s, 5.0, 64)
        assert len(frames) == len(rows) == pytest.approx((t.end_s - t.start_s) * 5, abs=1.5)
        # the clip's first picture is the episode's, apart from what is written on it
        shown = clip[0][60:420:2, ::2].astype(int)
        recorded = np.asarray(Image.fromarray(frames[0]).resize((480, 480)))[60:420:2, ::2]
        assert np.abs(shown - recorded).mean() < 8
