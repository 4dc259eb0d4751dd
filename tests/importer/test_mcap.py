"""MCAP recordings become episodes: topics with rates of their own brought to one, and one line for what is wrong."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from lerobot_maker import FPS, Made, arrays, number_of
from mcap_maker import (
    ACTION,
    CAMERA,
    DONE,
    GRIPPER,
    JOINTS,
    ROS2,
    START_NS,
    make_mcap,
    messages_of,
    picture,
    protobuf_type,
    write_mcap,
)

from importer.pool import read_pool
from importer.pool.dataset import open_dataset
from importer.pool.inspect import dataset_at, inspect
from importer.pool.mcap_file import MOST_PLACES, columns_in, picture_of
from preference.config import Clips, Columns, Dataset, Pool
from preference.errors import DataError

pytest.importorskip("mcap_ros2", reason="reads MCAP; `pip install 'robopref[mcap]'` brings its reader")
pytest.importorskip("mcap_protobuf", reason="reads MCAP; `pip install 'robopref[mcap]'` brings its reader")

EPISODES = [Made(rows=50, still=20, done=40), Made(rows=40, still=15, source="novice", success=False)]
COLUMNS = Columns(
    action=[f"{ACTION}.linear.x", f"{ACTION}.linear.y"], gripper=f"{GRIPPER}.data", success=f"{DONE}.data"
)


def dataset(root: Path, columns: Columns = COLUMNS, **given: object) -> Dataset:
    return Dataset(path=root, name="d", columns=columns, **given)


def read_one(tmp_path: Path, messages: list, *, encoding: str = "ros2", **given: object):
    """The episode of one file with these messages; the task is `reach`."""
    write_mcap(tmp_path / "d" / "run_0.mcap", messages, encoding=encoding)
    return open_dataset(dataset(tmp_path / "d", **{"task_type": "reach", **given})).read(0)


@pytest.mark.parametrize("layout", ["files", "folders"])
@pytest.mark.parametrize("encoding", ["ros2", "json", "protobuf"])
def test_the_rows_are_what_the_topics_said(tmp_path: Path, encoding: str, layout: str) -> None:
    opened = open_dataset(dataset(make_mcap(tmp_path / "d", EPISODES, encoding=encoding, layout=layout)))
    assert list(opened.episodes.values()) == ["run_0", "run_1"]
    for index, made in enumerate(EPISODES):
        episode, values = opened.read(index), arrays(made, index)
        assert (episode.task_type, episode.source, episode.success) == ("reach", made.source, made.success)
        assert episode.fps == FPS and len(episode.time) == made.rows
        np.testing.assert_allclose(episode.actions, values["action"], atol=1e-6)
        np.testing.assert_allclose(episode.state, values["state"], atol=1e-5)
        np.testing.assert_array_equal(episode.success_rows, values["success"])
        slow = values["gripper"][np.arange(made.rows) // 4 * 4]  # 5 Hz against 20
        np.testing.assert_allclose(episode.gripper, slow)
        assert episode.video is not None and (episode.video.width, episode.video.height) == (80, 60)
        assert [number_of(frame) for frame in episode.video.frames(range(made.rows))] == list(range(made.rows))
        assert [number_of(frame) for frame in episode.video.frames([3, 3, 17, 39])] == [3, 3, 17, 39]


@pytest.mark.parametrize("encoding", ["ros2", "json", "protobuf"])
def test_inspect_names_every_column_and_its_lines_read_the_pool(tmp_path: Path, encoding: str) -> None:
    found = inspect(dataset_at(make_mcap(tmp_path / "d", EPISODES, encoding=encoding)))
    assert (found.format, found.episodes, found.cameras) == ("MCAP", 2, [CAMERA])
    names = {column.name: column.width for column in found.columns}
    data = ".data" if encoding == "json" else ""  # beside a time stamp there
    columns = {f"{ACTION}.linear": 3, f"{ACTION}.angular": 3, f"{JOINTS}.position": 4}
    assert names == {**columns, GRIPPER + data: 1, DONE + data: 1}
    roles = {role.name: role.place for role in found.roles}
    assert roles["action"] == f"{ACTION}.linear, {ACTION}.angular" and roles["camera"] == CAMERA
    assert f"{JOINTS}.position" in roles["state"] and DONE in roles["success"] and DONE not in roles["state"]
    result = read_pool(Pool(dataset=[found.dataset]), Clips())
    assert not result.failures and [one.source for one in result.trajectories] == ["expert", "novice"]


def test_a_row_takes_the_newest_message_before_its_middle_and_the_rate_can_be_given(tmp_path: Path) -> None:
    """The camera starts 30 ms late and jitters by a third of a frame; nothing is shown twice or skipped."""
    rng = np.random.default_rng(0)
    found = [
        (topic, at + 0.03 + rng.uniform(-0.3, 0.3) / FPS if topic == CAMERA else at, fields)
        for topic, at, fields in messages_of(EPISODES[0], 0)
    ]
    found = sorted(((topic, at + 0.1, fields) for topic, at, fields in found), key=lambda message: message[1])
    episode = read_one(tmp_path, found)
    assert episode.fps == FPS and episode.video
    shown = [number_of(frame) for frame in episode.video.frames(range(len(episode.time)))]
    assert len(shown) >= 48 and np.abs(np.diff(shown) - 1).max() <= 1 and abs(shown[-1] - len(shown)) <= 2
    slow = read_one(tmp_path / "slow", found, fps=5.0)
    assert slow.fps == 5 and slow.video and len(slow.time) == pytest.approx(len(shown) / 4, abs=1)
    assert set(np.diff([number_of(frame) for frame in slow.video.frames(range(len(slow.time)))])) <= {3, 4, 5}


def test_frames_are_not_held_in_memory(tmp_path: Path, monkeypatch) -> None:
    """200 pictures of 0.9 MB each, read one by one."""
    raw = np.random.default_rng(0).integers(0, 256, 480 * 640 * 3, dtype=np.uint8).tobytes()
    name, text = "sensor_msgs/msg/Image", "uint32 height\nuint32 width\nstring encoding\nuint32 step\nuint8[] data\n"
    fields = {"height": 480, "width": 640, "encoding": "bgr8", "step": 1920, "data": raw}
    topic = "/raw"
    monkeypatch.setitem(ROS2, topic, (name, text))
    found = [(topic, k / FPS, fields) for k in range(200)]
    actions = [message for message in messages_of(Made(rows=200, done=100), 0) if message[0] in (ACTION, GRIPPER, DONE)]
    episode = read_one(tmp_path, sorted(found + actions, key=lambda message: message[1]))
    assert episode.video and episode.video.width == 640
    tracemalloc.start()
    count = sum(1 for frame in episode.video.frames(range(len(episode.time))) if frame.shape == (480, 640, 3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200 and peak < 30e6
    first = next(iter(episode.video.frames([0])))
    np.testing.assert_array_equal(first[0, 0], np.frombuffer(raw[:3], np.uint8)[::-1])


def without(topic: str) -> list:
    return [message for message in messages_of(EPISODES[0], 0) if message[0] != topic]


def stuck(messages: list) -> list:
    return [message for message in messages if message[0] != CAMERA or not 0.5 < message[1] < 2.0]


@pytest.mark.parametrize(
    ("messages", "given", "said"),
    [
        (without(ACTION), {}, "names it, but there are"),
        (without(CAMERA), {"columns": COLUMNS.model_copy(update={"camera": [CAMERA]})}, "no video '/camera/image"),
        (stuck(messages_of(EPISODES[0], 0)), {}, "the camera stands still for 1.50 s after 0.50 s"),
        ([m for m in messages_of(EPISODES[0], 0) if m[0] != CAMERA or m[1] == 0], {}, "expected several frames"),
        (
            [(t, at + 9 * (t == JOINTS), f) for t, at, f in messages_of(EPISODES[0], 0)],
            {},
            "before /joint_states begin",
        ),
        ([(t, at * 4000, f) for t, at, f in messages_of(EPISODES[0], 0)], {"fps": 1.0}, "expected at most 3600 s"),
        (
            [(t, at, {**f, "format": "png", "data": b"no"} if t == CAMERA else f) for t, at, f in without("")],
            {},
            "cannot be read as an image",
        ),
        (
            [(t, at, {**f, "position": [1.0]} if t == JOINTS and at > 1 else f) for t, at, f in without("")],
            {},
            "message 101 has 1 numbers, the first has 4",
        ),
    ],
)
def test_what_is_wrong_with_a_recording_is_one_line_with_its_file(tmp_path: Path, messages, given, said) -> None:
    with pytest.raises(DataError, match=said) as refused:
        read_one(tmp_path, sorted(messages, key=lambda message: message[1]), **given)
    assert str(tmp_path / "d") in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: data[:-1], "cut off"),
        (lambda data: b"", "cut off"),
        (lambda data: b"x" * 500, "not an MCAP file"),
        (lambda data: data[:3000] + bytes(100) + data[3100:], "damaged"),
    ],
)
def test_a_broken_file_is_one_failure_and_the_others_are_read(tmp_path: Path, harm, said) -> None:
    root = make_mcap(tmp_path / "d", [EPISODES[0], EPISODES[0], EPISODES[1]])
    file = root / "run_1.mcap"
    file.write_bytes(harm(file.read_bytes()))
    result = read_pool(Pool(dataset=[dataset(root)]), Clips())
    assert [one.trajectory_id for one in result.trajectories] == ["d-run-0", "d-run-2"]
    (failure,) = result.failures
    assert failure.file == str(file) and said in failure.reason


def test_a_topic_that_one_file_lacks_is_that_episodes_failure(tmp_path: Path) -> None:
    root = make_mcap(tmp_path / "d", EPISODES)
    for number, topic in enumerate((CAMERA, ACTION), start=2):
        write_mcap(root / f"run_{number}.mcap", without(topic), labels={"task": "reach"})
    result = read_pool(Pool(dataset=[dataset(root)]), Clips())
    reasons = [f"{one.field}: {one.reason}" for one in result.failures]
    assert len(result.trajectories) == 2 and len(reasons) == 2
    assert f"{CAMERA}: the camera's topic has no messages; found none" in reasons[0]
    assert f"{ACTION}.linear: the topic has no messages in this file" in reasons[1]


def test_an_unknown_encoding_an_unindexed_file_and_a_video_topic_are_named(tmp_path: Path) -> None:
    from mcap.writer import Writer

    write_mcap(tmp_path / "plain" / "a.mcap", messages_of(EPISODES[0], 0), use_chunking=False)
    with pytest.raises(DataError, match=r"no index of its chunks.*mcap recover"):
        inspect(dataset_at(tmp_path / "plain"))
    root = tmp_path / "cbor"
    write_mcap(root / "a.mcap", messages_of(EPISODES[0], 0))
    for name in ("b", "c"):
        with (root / f"{name}.mcap").open("wb") as stream:
            writer = Writer(stream)
            writer.start()
            for topic, kind in ((f"{ACTION}", "Twist"), ("/video", "foxglove.CompressedVideo")):
                channel = writer.register_channel(topic, "cbor", writer.register_schema(kind, "", b""))
                for k in range(20):
                    writer.add_message(channel, START_NS + k, b"\xa0", START_NS + k)
            writer.finish()
    result = read_pool(Pool(dataset=[dataset(root, task_type="reach")]), Clips())
    assert [one.trajectory_id for one in result.trajectories] == ["d-a"]
    assert all("expected messages in cdr" in one.reason and "'cbor'" in one.reason for one in result.failures)
    notes = open_dataset(dataset(root)).reader.schema.notes
    assert notes == ["/video is foxglove.CompressedVideo, which is not read: record images of it."]


def test_parts_of_one_recording_a_single_file_and_files_too_deep_say_what_to_name(tmp_path: Path) -> None:
    root = make_mcap(tmp_path / "d", EPISODES, layout="folders")
    write_mcap(root / "run_1" / "run_1_1.mcap", messages_of(EPISODES[0], 0))
    result = read_pool(Pool(dataset=[dataset(root)]), Clips())
    assert [one.reason for one in result.failures] == ["expected one file for an episode, found 2"]
    with pytest.raises(DataError, match="Name the folder that holds"):
        inspect(dataset_at(root / "run_0" / "run_0_0.mcap"))
    deep = make_mcap(tmp_path / "top" / "a" / "b", EPISODES)
    with pytest.raises(DataError, match=f"Name the folder that holds them: {deep}"):
        inspect(dataset_at(tmp_path / "top"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"encoding": "yuv422", "width": 2, "height": 2, "step": 4, "data": b"0" * 8}, "encoding 'yuv422'"),
        ({"encoding": "rgb8", "width": 2, "height": 2, "step": 6, "data": b"0" * 8}, "8 bytes for 2x2"),
        ({"encoding": "rgb8", "width": 2, "height": 2, "step": 1, "data": b"0" * 80}, "in rows of 1"),
        ({"encoding": "rgb8", "width": 1 << 20, "height": 1 << 20, "step": 0, "data": b""}, "pixels a frame"),
        ({"format": "png", "data": "%%%"}, "not an image|as an image|damaged"),
        ({"no": 1}, "damaged"),
    ],
)
def test_a_picture_that_is_none_is_refused(fields, said) -> None:
    with pytest.raises(DataError, match=said):
        picture_of(fields, Path("a.mcap"), "/camera")


def test_pictures_of_each_encoding_are_rgb() -> None:
    for encoding, pixel, shown in (
        ("rgb8", b"\1\2\3", [1, 2, 3]),
        ("bgra8", b"\1\2\3\4", [3, 2, 1]),
        ("mono8", b"\7", [7] * 3),
    ):
        fields = {"encoding": encoding, "width": 1, "height": 2, "step": 8, "data": (pixel + bytes(8))[:8] * 2}
        assert picture_of(fields, Path("a.mcap"), "/c").tolist() == [[shown], [shown]]
    assert number_of(picture_of({"format": "jpeg", "data": picture(5, "jpeg")}, Path("a.mcap"), "/c")) == 5


def test_a_topic_with_a_map_that_nobody_names_does_no_harm(tmp_path: Path) -> None:
    from google.protobuf.struct_pb2 import Struct

    free = Struct()
    free.update({"battery": 12.5, "mode": "auto", "arm": {"load": 0.5}})
    gauges = protobuf_type("Gauges", {"by_name": "map", "total": "double"})(by_name={"a": 1.0}, total=2.0)
    found = [("/diagnostics", 0.0, free), ("/gauges", 0.0, gauges), *messages_of(EPISODES[0], 0)]
    assert len(read_one(tmp_path, found, encoding="protobuf").time) == EPISODES[0].rows
    names = [column.name for column in inspect(dataset_at(tmp_path / "d")).columns]
    assert "/gauges.total" in names and not any("by_name" in one or "diagnostics" in one for one in names)


def test_an_integer_beyond_float64_is_no_number(tmp_path: Path) -> None:
    huge = {"one": 10**400, "many": [1, 10**400], "message": {"x": 10**400, "y": 1.0}, "good": 3}
    found = [("/huge", 0.0, huge), *messages_of(EPISODES[0], 0)]
    assert len(read_one(tmp_path, found, encoding="json").time) == EPISODES[0].rows
    names = [column.name for column in inspect(dataset_at(tmp_path / "d")).columns]
    assert [one for one in names if "huge" in one] == ["/huge.message.y", "/huge.good"]
    named = COLUMNS.model_copy(update={"state": ["/huge.good"]})
    later = [*found, ("/huge", 1.0, {"good": 10**400})]
    with pytest.raises(DataError, match="message 1 has 0 numbers, the first has 1"):
        read_one(tmp_path / "later", sorted(later, key=lambda m: m[1]), encoding="json", columns=named)


def test_the_places_looked_at_in_a_topic_are_bounded(tmp_path: Path) -> None:
    """A message type of 30 fields of itself has 30^8 places at depth 8; neither they nor those that are set hang it."""
    node = protobuf_type("Node", {**{f"n{k}": "Node" for k in range(30)}, "x": "double"})
    small, full = node(x=1.0), node(x=1.0)
    small.n3.n4.x = 2.0
    level = [full]
    for _ in range(3):
        level = [getattr(one, f"n{k}") for one in level for k in range(30)]
        for one in level:
            one.x = 3.0
    assert ["/".join(path) for path, *_ in columns_in(small)] == ["n3/n4/x", "n3/x", "x"]
    assert 0 < len(list(columns_in(full))) < MOST_PLACES
    assert len(list(columns_in({f"f{k}": {"x": k, "s": ""} for k in range(9 * MOST_PLACES)}))) == 0
    found = [("/scene", 0.0, small), *messages_of(EPISODES[0], 0)]
    write_mcap(tmp_path / "d" / "run_0.mcap", found, encoding="protobuf")
    names = [column.name for column in inspect(dataset_at(tmp_path / "d")).columns]
    assert [one for one in names if "scene" in one] == ["/scene.n3.n4.x", "/scene.n3.x", "/scene.x"]


def test_a_message_that_is_left_out_later_reads_as_zeros(tmp_path: Path) -> None:
    found = [
        (topic, at, {"angular": fields["angular"]} if topic == ACTION and at >= 1 else fields)
        for topic, at, fields in messages_of(EPISODES[0], 0)
    ]
    episode = read_one(tmp_path, found, encoding="protobuf")
    first = arrays(EPISODES[0], 0)["action"][: int(FPS)]
    np.testing.assert_allclose(episode.actions, [*first, *np.zeros((EPISODES[0].rows - len(first), 2))], atol=1e-6)


@pytest.mark.parametrize(("begins", "ends", "fine"), [(2.0, 9.0, True), (1.9, 9.0, False), (0.0, 0.5, True)])
def test_a_camera_may_stand_still_outside_the_rows(tmp_path: Path, begins: float, ends: float, fine: bool) -> None:
    """The camera has nothing between 0.5 and 2 s; the rows are as long as the arm is commanded."""
    made = stuck(messages_of(Made(rows=80, done=70), 0))
    found = [message for message in made if message[0] != ACTION or begins <= message[1] <= ends]
    if fine:
        episode = read_one(tmp_path, found)
        assert len(episode.time) == round((min(ends, 79 / FPS) - begins) * FPS) + 1
    else:
        with pytest.raises(DataError, match=r"stands still for 1\.50 s after 0\.50 s"):
            read_one(tmp_path, found)
