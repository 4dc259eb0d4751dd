"""MCAP, as ROS 2 and Foxglove record it: one file for each episode.

    kitchen/
      run_1.mcap               or a folder run_1/ that holds one file, as `ros2 bag record` makes it
      run_2.mcap

A column is `/topic.field.field`: a number, an array, or a message of nothing but numbers. A camera is a topic of
images. The metadata records of a file may say task_type, source, success, environment_id, robot_type, quality and
return.

Topics have rates of their own, rows have one: that of the dataset's entry in robopref.toml, else the primary camera's
(else the action's), to the nearest whole number. Rows begin when every named topic has spoken and end when the action
or a camera falls silent. Each row takes of each topic the newest message that was logged before the middle of the row.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from importer.pool.episode import BadInput, Episode, views_of
from importer.pool.folder import natural
from importer.pool.labels import assemble, labels_of, text
from importer.pool.mapping import (
    ACTIONS,
    ROW_SUCCESS,
    STATES,
    Column,
    Mapping,
    Schema,
    Seen,
    map_columns,
    seen_in,
)
from importer.pool.mcap_file import Pictures, Recording, columns_in, numbers_at, opened
from importer.pool.outside import LONGEST_S, check_array, check_inside, guarded
from importer.pool.rows import rows_of
from preference.config import Columns, Dataset
from preference.errors import needs

SUFFIX = ".mcap"
STANDSTILL_S = 1.0
"""A camera may be silent for so long, or for five of its frames: people would judge a frozen picture."""
NO_IMAGES = "its files have no topic of images: they can be measured but not shown."
Place = tuple[str, tuple[str, ...]]
"""A topic, and the fields that lead to numbers in its messages."""


class Mcap:
    """Reader of one dataset; holds the files' names and what the first good ones have."""

    def __init__(self, dataset: Dataset) -> None:
        needs("mcap", "mcap_ros2", "mcap_protobuf")
        self.dataset = dataset
        self.root = dataset.path
        self.named = recordings(self.root)
        if not self.named:
            fix = "" if self.root.is_dir() else f"Name the folder that holds the episodes' files: {self.root.parent}"
            raise BadInput(self.root, "", f"there is no episode here: expected a folder of files *{SUFFIX}", fix=fix)
        self.names = dict(enumerate(self.named))
        self.places: dict[str, Place] = {}
        self.videos: dict[str, str] = {}
        """Topic of compressed video → its encoding."""
        self.schema = self._schema()
        found = map_columns(self.schema, dataset.columns, usual(self.schema.columns, self.places))
        self.mapping = replace(found, time="")  # the log's own

    def episodes(self) -> dict[int, str]:
        return self.names

    def files(self, episode_index: int, cameras: Sequence[str] | None = None) -> list[Path]:
        if episode_index not in self.names:
            raise BadInput(self.root, "", f"there is no episode {episode_index}")
        named = self.named[self.names[episode_index]]
        parts = sorted(named.glob(f"*{SUFFIX}")) if named.is_dir() else [named]
        if len(parts) != 1:
            fix = f"Join the parts of a recording (`mcap merge`); if each is an episode, name the folder {named}."
            raise BadInput(named, "", f"expected one file for an episode, found {len(parts)}", fix=fix)
        check_inside(parts[0], self.root)
        return parts

    def read(self, episode_index: int) -> Episode:
        file = self.files(episode_index)[0]
        with opened(file) as recording:
            said = recording.labels()
            log = read_log(recording, self.mapping, self.places)
            clock, fps = log.clock(self.mapping, self.places, self.dataset.fps)
            rows = rows_of(log.resampled(clock, fps), self.mapping, file, fps)
            views = views_of(
                self.mapping.cameras, lambda topic: Pictures.of(recording, topic, log.at(topic, clock, fps))
            )
        labels = labels_of(said, self.mapping, file)
        return assemble(episode_index, rows, labels, views, task=text(said.get("task")))

    def _schema(self) -> Schema:
        columns, cameras, labels = seen_in(self.names, self._seen)
        notes = [] if cameras else [NO_IMAGES]
        notes += [f"{topic} is {name}, which is not read: record images of it." for topic, name in self.videos.items()]
        return Schema("MCAP", self.root, self.dataset.fps, columns, sorted(cameras), labels, notes)

    def _seen(self, index: int) -> Seen:
        file = self.files(index)[0]
        with guarded(file), opened(file) as recording:
            columns = self._columns(recording)
            labels = list(recording.labels())
            self.videos |= {topic: recording.topics[topic] for topic in filter(recording.is_video, recording.topics)}
            return Seen(columns, list(filter(recording.is_picture, recording.topics)), labels)

    def _columns(self, recording: Recording) -> dict[str, Column]:
        """What the first message of each topic has."""
        found: dict[str, Column] = {}
        for topic in sorted(recording.topics):
            if recording.is_picture(topic) or recording.is_video(topic):
                continue
            try:
                message = recording.first(topic)
            except BadInput:
                continue  # of an encoding that is not read, which matters where the topic is named
            for path, width, names in columns_in(message):
                name = ".".join((topic, *path))
                self.places[name] = (topic, path)
                found[name] = Column(name, "float64", width, tuple(f"{name}.{one}" for one in names))
        return found


def recordings(root: Path) -> dict[str, Path]:
    """Name of the episode → its file, or the folder that holds it."""
    found: dict[str, Path] = {}
    for item in sorted(root.iterdir(), key=natural) if root.is_dir() else []:
        if item.name.startswith("."):
            continue
        if item.suffix == SUFFIX:
            found[item.stem] = item
        elif item.is_dir() and any(item.glob(f"*{SUFFIX}")):
            found.setdefault(item.name, item)
    return found


def usual(columns: Iterable[str], places: dict[str, Place]) -> Columns:
    """The numbers of topics that are called as actions, states or successes are, and the joints' positions."""

    def first(words: Iterable[str]) -> list[str]:
        return [name for name in columns if places[name][0].rpartition("/")[2] in words][:1]

    joints = [name for name in columns if name.endswith("joint_states.position")]
    done = first(ROW_SUCCESS)
    return Columns(action=first(ACTIONS), state=first(STATES) or joints[:1], success=done[0] if done else "")


@dataclass
class Log:
    """What a file has of the topics that the mapping names. Times in seconds since the first of these messages."""

    file: Path
    silent: set[str]
    """Columns of topics that were recorded and said nothing."""
    times: dict[str, array[float]]
    """Topic → (N,)."""
    topics: dict[str, str]
    """Column → topic."""
    values: dict[str, array[float]] = field(default_factory=dict)
    """Column → (N * D,)."""
    widths: dict[str, int] = field(default_factory=dict)

    def add(self, column: str, found: list[float]) -> None:
        """
        Raises:
            BadInput: the message has another number of numbers than the first, or they are too many.
        """
        kept = self.values.setdefault(column, array("d"))
        width = self.widths.setdefault(column, len(found))
        count = len(kept) // max(1, width)
        if len(found) != width:
            reason = f"message {count} has {len(found)} numbers, the first has {width}"
            raise BadInput(self.file, column, reason)
        check_array(count + 1, width, self.file, column)
        kept.extend(found)

    def clock(self, mapping: Mapping, places: dict[str, Place], fps: float) -> tuple[np.ndarray, float]:
        """(T,) seconds of the rows, and how many there are in a second.

        Raises:
            BadInput: the action or a camera has too few messages, stands still, or ends before another topic begins.
        """
        cameras = [topic for topic in mapping.cameras if topic in self.times]
        actions = [places[ref.column][0] for ref in mapping.action if ref.column in self.values]
        late = {places[mapping.success.column][0]} if mapping.success else set()
        paced = [*cameras, *actions]
        if not actions:
            raise BadInput(self.file, mapping.action[0].column, "the topic has no messages in this file")
        begins = max((topic for topic in self.times if topic in paced or topic not in late), key=self._first)
        ends = min(paced, key=lambda topic: self.times[topic][-1])
        start, end = self.times[begins][0], self.times[ends][-1]
        for topic in cameras:
            self._check_moving(topic, start, end)
        if end <= start:
            raise BadInput(self.file, ends, f"it ends at {end:.2f} s, before {begins} begins at {start:.2f} s")
        fps = fps or self._rate(paced[0])
        if end - start > LONGEST_S:
            raise BadInput(self.file, ends, f"expected at most {LONGEST_S:g} s, found {end - start:.6g} s")
        check_array(int((end - start) * fps) + 1, 1, self.file, "fps")
        return start + np.arange(int((end - start) * fps + 1e-6) + 1) / fps, fps

    def at(self, topic: str, clock: np.ndarray, fps: float) -> list[int]:
        """(T,) Row → number of its message."""
        if topic not in self.times:
            return []
        return (np.searchsorted(np.asarray(self.times[topic]), clock + 0.5 / fps, side="right") - 1).tolist()

    def resampled(self, clock: np.ndarray, fps: float) -> Callable[[str], np.ndarray | None]:
        """How to load a column: (T, D). Success is 0 before its first message and where it has none."""

        def load(column: str) -> np.ndarray | None:
            if column in self.silent:
                return np.zeros((len(clock), 1))
            if column not in self.values:
                return None
            if not (width := self.widths[column]):
                return np.empty((len(clock), 0))
            kept = np.frombuffer(self.values[column]).reshape(-1, width)
            at = np.asarray(self.at(self.topics[column], clock, fps))
            return np.where(at[:, None] >= 0, kept[np.maximum(at, 0)], 0.0)

        return load

    def _first(self, topic: str) -> float:
        return self.times[topic][0]

    def _rate(self, topic: str) -> float:
        gaps = np.diff(np.asarray(self.times[topic]))
        middle = float(np.median(gaps)) if len(gaps) else 0.0
        if middle <= 0:
            fix = "Set `fps` of the dataset in robopref.toml."
            raise BadInput(self.file, topic, f"its {len(gaps) + 1} messages do not give a rate", fix=fix)
        return float(max(1, round(1 / middle)))

    def _check_moving(self, topic: str, start: float, end: float) -> None:
        """What the camera did before the first row and after the last does not matter."""
        times = np.asarray(self.times[topic])
        gaps = np.diff(times)
        if not len(gaps):
            raise BadInput(self.file, topic, "expected several frames, found one")
        allowed = max(STANDSTILL_S, 5 * float(np.median(gaps)))
        if len(still := np.flatnonzero((gaps > allowed) & (times[1:] > start) & (times[:-1] < end))):
            reason = f"the camera stands still for {gaps[still[0]]:.2f} s after {times[still[0]]:.2f} s"
            raise BadInput(self.file, topic, reason, fix="Leave the episode out, or cut it there.")


def read_log(recording: Recording, mapping: Mapping, places: dict[str, Place]) -> Log:
    """One pass over the file; pictures are counted and not decoded.

    Raises:
        BadInput: a message is damaged, of an unknown encoding, or of another length than those before it.
    """
    wanted: dict[str, list[str]] = {topic: [] for topic in mapping.cameras if topic in recording.topics}
    for column in sorted(mapping.columns()):
        topic = places[column][0]
        if topic in recording.topics:
            wanted.setdefault(topic, []).append(column)
    silent = {one.column for one in [mapping.success] if one and places[one.column][0] in recording.silent}
    log = Log(recording.file, silent, {}, {name: topic for topic, names in wanted.items() for name in names})
    begin = None
    for topic, logged, message in recording.messages(list(wanted)):
        begin = logged if begin is None else begin
        if columns := wanted[topic]:
            decoded = message()
            for column in columns:
                log.add(column, numbers_at(decoded, places[column][1]))
        log.times.setdefault(topic, array("d")).append((logged - begin) / 1e9)
    return log
