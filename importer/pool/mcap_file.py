"""One MCAP file: its topics, and their messages one at a time, as numbers and as pictures.

The reader is the package `mcap`. Messages are CDR with ROS 2 definitions, Protobuf or JSON, as ROS 2 and Foxglove
record them. A chunk of the file is in memory at a time.
"""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.episode import BadInput, NoView
from importer.pool.images import as_rgb, decoded
from importer.pool.outside import LONGEST_TEXT, MOST_COLUMNS, check_pixels, guarded, parse_json

if TYPE_CHECKING:
    from mcap.reader import SeekingReader

PICTURES = ("CompressedImage", "Image", "RawImage")
"""Last words of the names of schemas: sensor_msgs/msg/CompressedImage, foxglove.RawImage …"""
VIDEOS = ("CompressedVideo", "FFMPEGPacket")
CLOCK = {"sec", "nsec", "nanosec", "seconds", "nanos"}
"""Fields of a time stamp, which is no measurement."""
PIXELS: dict[str, tuple[int, str]] = {
    "rgb8": (3, "RGB"),
    "bgr8": (3, "BGR"),
    "rgba8": (4, "RGB"),
    "bgra8": (4, "BGR"),
    "mono8": (1, ""),
    "8UC1": (1, ""),
}
"""Encoding of a raw image → bytes of a pixel, and their order."""
DAMAGED = "If it was cut off while recording, repair it: `mcap recover {0} -o repaired.mcap`."
NO_INDEX = "Write one with an index: `mcap recover {0} -o indexed.mcap`."
DEEPEST = 8
"""Messages within messages."""
MOST_PLACES = 10_000
"""Fields of one topic that are looked at."""
Logged = tuple[str, int, Callable[[], Any]]
"""A message: its topic, the time at which it was logged in ns, and what decodes it."""


@dataclass
class Recording:
    """An open file."""

    file: Path
    reader: SeekingReader
    topics: dict[str, str]
    """Those with messages → the name of their schema."""
    silent: set[str]
    """Those that were listened to, and said nothing."""
    decoders: dict[int, Callable[[bytes], Any]] = field(default_factory=dict)
    """Channel → how its messages are read."""

    def is_picture(self, topic: str) -> bool:
        return _last_word(self.topics[topic]) in PICTURES

    def is_video(self, topic: str) -> bool:
        return _last_word(self.topics[topic]) in VIDEOS

    def messages(self, topics: Sequence[str]) -> Iterator[Logged]:
        """In the order of time.

        Raises:
            BadInput: the file is damaged.
        """
        stream = self.reader.iter_messages(topics=list(topics))
        while True:
            with guarded(self.file):
                found = next(stream, None)
            if found is None:
                return
            schema, channel, message = found
            yield channel.topic, message.log_time, lambda s=schema, c=channel, m=message: self._decode(s, c, m)

    def first(self, topic: str) -> Any:
        """The topic's first message, decoded.

        Raises:
            BadInput: there is none, or its encoding is not known.
        """
        for _, _, message in self.messages([topic]):
            return message()
        raise BadInput(self.file, topic, "the topic has no messages")

    def labels(self) -> dict[str, str]:
        """What the file's metadata records say; of two that say the same, the first."""
        found: dict[str, str] = {}
        for record in self.reader.iter_metadata():
            short = {name: text for name, text in record.metadata.items() if len(text) <= LONGEST_TEXT}
            found = {**short, **found}
        return found

    def _decode(self, schema: Any, channel: Any, message: Any) -> Any:
        if channel.id not in self.decoders:
            self.decoders[channel.id] = self._decoder(schema, channel)
        with guarded(self.file):
            return self.decoders[channel.id](message.data)

    def _decoder(self, schema: Any, channel: Any) -> Callable[[bytes], Any]:
        from mcap_protobuf.decoder import DecoderFactory as Protobuf
        from mcap_ros2.decoder import DecoderFactory as Ros2

        if channel.message_encoding == "json":
            return lambda data: parse_json(data, self.file, channel.topic)
        for factory in (Ros2(), Protobuf()):
            with guarded(self.file):
                decoder = factory.decoder_for(channel.message_encoding, schema)
            if decoder:
                return decoder
        found = f"{channel.message_encoding!r} with a schema in {schema.encoding if schema else ''!r}"
        reason = f"expected messages in cdr (with a schema in ros2msg), protobuf or json, found {found}"
        raise BadInput(self.file, channel.topic, reason, fix="Record or convert it in one of these.")


@contextmanager
def opened(file: Path) -> Iterator[Recording]:
    """
    Raises:
        BadInput: it is not an MCAP file, was cut off, or has no index.
    """
    from mcap.exceptions import McapError
    from mcap.reader import SeekingReader

    try:
        stream = file.open("rb")
    except OSError as error:
        raise BadInput(file, "", f"cannot be read: {error.strerror}") from None
    with stream:
        try:
            reader = SeekingReader(stream, validate_crcs=True)
            summary = reader.get_summary()
        except (McapError, StopIteration, OSError, ValueError, KeyError, struct.error) as error:
            reason = "it is damaged, cut off, or not an MCAP file"
            raise BadInput(file, "", reason, fix=DAMAGED.format(file)) from error
        empty = summary and summary.statistics and not summary.statistics.message_count
        if summary is None or not (summary.chunk_indexes or empty):
            # without one, mcap would bring all messages into memory to sort them
            raise BadInput(file, "", "the file has no index of its chunks", fix=NO_INDEX.format(file))
        spoken = {channel for chunk in summary.chunk_indexes for channel in chunk.message_index_offsets}
        if not spoken and summary.chunk_indexes:
            raise BadInput(file, "", "the file has no index of its messages", fix=NO_INDEX.format(file))
        channels = [summary.channels[index] for index in sorted(spoken) if index in summary.channels]
        schemas = {channel.topic: summary.schemas.get(channel.schema_id) for channel in channels}
        topics = {topic: schema.name if schema else "" for topic, schema in schemas.items()}
        yield Recording(file, reader, topics, {one.topic for one in summary.channels.values()} - set(topics))


def numbers(message: Any) -> list[float] | None:
    """A number, an array of numbers, or a message of nothing but numbers, such as a Vector3, as a flat list."""
    if message is None or isinstance(message, (str, bytes, bytearray)):
        return None
    try:
        if isinstance(message, (bool, int, float)):
            return [float(message)]
        if (fields := _fields(message)) is not None:
            values = [value for _, value in fields]
            plain = values and all(isinstance(value, (bool, int, float)) for value in values)
            return [float(value) for value in values] if plain else None
        if len(message) and isinstance(message[0], str):
            return None
        return np.asarray(message, dtype=np.float64).ravel().tolist()
    except (TypeError, ValueError, KeyError, OverflowError):
        return None  # a list of messages, a map of Protobuf, or an integer beyond float64


def columns_in(message: Any) -> Iterator[tuple[tuple[str, ...], int, list[str]]]:
    """The places in a message that hold numbers: the path of fields to each, how many numbers it has, and the fields'
    names of these where they have any. No more than about `MOST_PLACES` are looked at."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), message)]
    seen = 0
    while waiting and seen <= MOST_PLACES:
        path, message = waiting.pop()
        fields = _fields(message)
        seen += 1 + len(fields or [])
        if fields and {name for name, _ in fields} <= CLOCK:
            continue
        if (found := numbers(message)) is not None:
            if 0 < len(found) <= MOST_COLUMNS:
                yield path, len(found), [name for name, _ in fields or []]
        elif fields and len(path) < DEEPEST:
            waiting += [((*path, name), value) for name, value in reversed(fields) if not _is_unset(message, name)]


def numbers_at(message: Any, path: Sequence[str]) -> list[float]:
    """The numbers at a place that `columns_in` found in another message; empty where this one has none."""
    for name in path:
        message = dict(_fields(message) or []).get(name)
    return ([] if message is None else numbers(message)) or []


def _fields(message: Any) -> list[tuple[str, Any]] | None:
    """None: it is no message."""
    if isinstance(message, dict):
        return list(message.items())
    if descriptor := getattr(message, "DESCRIPTOR", None):
        return [(one.name, getattr(message, one.name)) for one in descriptor.fields]
    if hasattr(message, "__slots__") and hasattr(message, "__dict__"):  # mcap_ros2's, a SimpleNamespace
        return [(name, getattr(message, name)) for name in message.__slots__]
    return None


def _is_unset(message: Any, name: str) -> bool:
    """Whether that field of a Protobuf message holds one message and was left out; reading it makes one, without end in
    a recursive schema."""
    if isinstance(message, dict) or not (descriptor := getattr(message, "DESCRIPTOR", None)):
        return False
    one = descriptor.fields_by_name[name]
    return bool(one.message_type) and one.has_presence and not message.HasField(name)


def _last_word(schema: str) -> str:
    return schema.replace("/", ".").rpartition(".")[2]


@dataclass(frozen=True)
class Pictures:
    """The messages of one topic as frames."""

    path: Path
    topic: str
    shown: tuple[int, ...]
    """Row → number of the message that it shows; ascending."""
    width: int
    height: int

    @classmethod
    def of(cls, recording: Recording, topic: str, shown: Sequence[int]) -> Pictures:
        """
        Raises:
            NoView: there are no such messages.
            BadInput: the first one is not a picture.
        """
        if topic not in recording.topics:
            cameras = ", ".join(filter(recording.is_picture, recording.topics)) or "none"
            raise NoView(recording.file, topic, f"the camera's topic has no messages; found {cameras}")
        first = picture_of(recording.first(topic), recording.file, topic)
        return cls(recording.file, topic, tuple(shown), first.shape[1], first.shape[0])

    def frames(self, rows: Sequence[int]) -> Iterator[np.ndarray]:
        """Only the wanted messages are decoded; one picture is in memory."""
        number, picture = -1, np.empty(0)
        with opened(self.path) as recording:
            messages = recording.messages([self.topic])
            for row in rows:
                if ahead := self.shown[row] - number:
                    number = self.shown[row]
                    picture = self._picture(next(islice(messages, ahead - 1, None), None), number)
                yield picture

    def _picture(self, found: Logged | None, number: int) -> np.ndarray:
        place = f"{self.topic}, message {number}"
        if found is None:
            raise BadInput(self.path, place, "it is missing: the file has changed while it was read")
        picture = picture_of(found[2](), self.path, place)
        if picture.shape[:2] != (self.height, self.width):
            size = f"{picture.shape[1]}x{picture.shape[0]}"
            raise BadInput(self.path, place, f"expected {self.width}x{self.height} as before, found {size}")
        return picture


def picture_of(message: Any, file: Path, field: str) -> np.ndarray:
    """(H, W, 3) uint8 of a compressed or raw image of ROS 2 or Foxglove.

    Raises:
        BadInput: its encoding is not known, or its bytes are not what it says.
    """
    has = dict(_fields(message) or [])
    with guarded(file):
        data = base64.b64decode(has["data"]) if isinstance(has["data"], str) else bytes(has["data"])
        if "format" in has:
            return decoded(io.BytesIO(data), file, field)
        width, height, encoding = int(has["width"]), int(has["height"]), str(has["encoding"])
        check_pixels(width, height, file, field)
        if encoding not in PIXELS:
            fix = "Record compressed images, or convert them."
            raise BadInput(file, field, f"expected {', '.join(PIXELS)}, found the encoding {encoding!r}", fix=fix)
        channels, order = PIXELS[encoding]
        step = int(has["step"]) or width * channels
        if not width * height or step < width * channels or len(data) < step * height:
            reason = f"{len(data):,} bytes for {width}x{height} pixels of {channels} bytes in rows of {step:,}"
            raise BadInput(file, field, reason)
        rows = np.frombuffer(data, np.uint8, step * height).reshape(height, step)
        pixels = rows[:, : width * channels].reshape(height, width, channels)
        return as_rgb(pixels[:, :, 2::-1] if order == "BGR" else pixels[:, :, :3], file, field)
