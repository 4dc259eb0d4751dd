"""MCAP files as ROS 2, and as Foxglove with JSON or Protobuf, record them; their pictures carry their own number."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lerobot_maker import FPS, Made, arrays, numbered
from PIL import Image

CAMERA = "/camera/image/compressed"
JOINTS = "/joint_states"
ACTION = "/arm/command"
GRIPPER = "/gripper"
DONE = "/success"
START_NS = 1_790_000_000_000_000_000
JOINTS_HZ = 100
ROS2 = {
    CAMERA: ("sensor_msgs/msg/CompressedImage", "builtin_interfaces/Time stamp\nstring format\nuint8[] data\n"),
    JOINTS: (
        "sensor_msgs/msg/JointState",
        "builtin_interfaces/Time stamp\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n",
    ),
    ACTION: ("geometry_msgs/msg/Twist", "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n"),
    GRIPPER: ("std_msgs/msg/Float32", "float32 data\n"),
    DONE: ("std_msgs/msg/Bool", "bool data\n"),
}
PARTS = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z\n",
}
Message = tuple[str, float, Any]
"""Topic, seconds from the start, fields; in Protobuf also a message of a type of its own."""


def picture(number: int, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(numbered(number, 80, 60)).save(stream, kind)
    return stream.getvalue()


def messages_of(made: Made, seed: int, *, offset: float = 0.0) -> list[Message]:
    """A camera and actions at `FPS`, joints at `JOINTS_HZ`, the gripper at 5 Hz, and one word when it is done."""
    values = arrays(made, seed)
    zero = {"x": 0.0, "y": 0.0, "z": 0.0}
    found: list[Message] = []
    for row in range(made.rows):
        at = row / FPS
        found.append((CAMERA, at + offset, {"format": "png", "data": picture(row)}))
        x, y = (float(value) for value in values["action"][row])
        found.append((ACTION, at, {"linear": {**zero, "x": x, "y": y}, "angular": zero}))
        if row % (FPS // 5) == 0:
            found.append((GRIPPER, at, {"data": float(values["gripper"][row])}))
        if values["success"][row]:
            found.append((DONE, at, {"data": True}))
    for sample in range(made.rows * JOINTS_HZ // FPS):
        position = [float(value) for value in values["state"][sample * FPS // JOINTS_HZ]]
        fields = {"name": ["a", "b", "c", "d"], "position": position, "velocity": [], "effort": []}
        found.append((JOINTS, sample / JOINTS_HZ, fields))
    return sorted(found, key=lambda message: message[1])


def make_mcap(root: Path, episodes: list[Made], *, encoding: str = "ros2", layout: str = "files") -> Path:
    """One file for each episode, `run_0.mcap`; with the layout `folders` each in one of its own."""
    for index, made in enumerate(episodes):
        name = f"run_{index}"
        file = root / f"{name}.mcap" if layout == "files" else root / name / f"{name}_0.mcap"
        labels = {"task": made.task, "source": made.source, "success": str(bool(made.success)).lower()}
        write_mcap(file, messages_of(made, index), encoding=encoding, labels=labels)
    return root


def write_mcap(
    file: Path, messages: list[Message], *, encoding: str = "ros2", labels: dict[str, str] | None = None, **how: Any
) -> Path:
    from mcap.writer import Writer

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        writer = Writer(stream, **{"chunk_size": 20_000, **how})
        writer.start()
        add = {"ros2": _ros2, "json": _json, "protobuf": _protobuf}[encoding](writer)
        add(DONE, {"data": False})  # listened to, though it speaks only when all is done
        for topic, at, fields in messages:
            channel, data = add(topic, fields)
            logged = START_NS + round(at * 1e9)
            writer.add_message(channel_id=channel, log_time=logged, publish_time=logged, data=data)
        if labels:
            writer.add_metadata("episode", labels)
        writer.finish()
    return file


Add = Callable[[str, dict[str, Any]], tuple[int, bytes]]


def _ros2(writer: Any) -> Add:
    from mcap_ros2._dynamic import serialize_dynamic

    channels: dict[str, tuple[int, Any]] = {}

    def add(topic: str, fields: dict[str, Any]) -> tuple[int, bytes]:
        if topic not in channels:
            name, text = ROS2[topic]
            for part, fields_text in PARTS.items():
                text += f"{'=' * 80}\nMSG: {part}\n{fields_text}"
            schema = writer.register_schema(name, "ros2msg", text.encode())
            channels[topic] = writer.register_channel(topic, "cdr", schema), serialize_dynamic(name, text)[name]
        channel, encode = channels[topic]
        return channel, encode(fields)

    return add


def _json(writer: Any) -> Add:
    channels: dict[str, int] = {}

    def add(topic: str, fields: dict[str, Any]) -> tuple[int, bytes]:
        if topic not in channels:
            name = "foxglove.CompressedImage" if topic == CAMERA else topic.strip("/")
            channels[topic] = writer.register_channel(topic, "json", writer.register_schema(name, "jsonschema", b"{}"))
        plain = {key: base64.b64encode(v).decode() if isinstance(v, bytes) else v for key, v in fields.items()}
        return channels[topic], json.dumps({"timestamp": {"sec": 1, "nsec": 2}, **plain}).encode()

    return add


def _protobuf(writer: Any) -> Add:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from mcap_protobuf.schema import register_schema

    kind = descriptor_pb2.FieldDescriptorProto
    channels: dict[str, tuple[int, Any]] = {}

    def declared(name: str, fields: dict[str, Any]) -> Any:
        """A message type with such fields."""
        found = descriptor_pb2.DescriptorProto(name=name)
        for number, (field, value) in enumerate(fields.items(), start=1):
            one = found.field.add(name=field, number=number, label=kind.LABEL_OPTIONAL)
            if isinstance(value, dict):
                found.nested_type.append(declared(field.title(), value))
                one.type, one.type_name = kind.TYPE_MESSAGE, field.title()
            elif isinstance(value, list):
                one.label = kind.LABEL_REPEATED
                one.type = kind.TYPE_STRING if value and isinstance(value[0], str) else kind.TYPE_DOUBLE
            else:
                kinds = {bytes: kind.TYPE_BYTES, str: kind.TYPE_STRING, bool: kind.TYPE_BOOL, float: kind.TYPE_DOUBLE}
                one.type = kinds[type(value)]
        return found

    def add(topic: str, fields: Any) -> tuple[int, bytes]:
        if not isinstance(fields, dict):
            if topic not in channels:
                schema = register_schema(writer, type(fields))
                channels[topic] = writer.register_channel(topic, "protobuf", schema), None
            return channels[topic][0], fields.SerializeToString()
        if topic not in channels:
            name = "CompressedImage" if topic == CAMERA else topic.strip("/").replace("/", "_")
            file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="foxglove", syntax="proto3")
            file.message_type.append(declared(name, fields))
            pool = descriptor_pool.DescriptorPool()
            pool.Add(file)
            made = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"foxglove.{name}"))
            described = descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()
            schema = writer.register_schema(f"foxglove.{name}", "protobuf", described)
            channels[topic] = writer.register_channel(topic, "protobuf", schema), made
        channel, made = channels[topic]
        return channel, made(**fields).SerializeToString()

    return add


def protobuf_type(name: str, fields: dict[str, str]) -> Any:
    """A message type: field → `double`, `map` (of text to double), or the name of the message type itself."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="test", syntax="proto3")
    made = file.message_type.add(name=name)
    for number, (field, of) in enumerate(fields.items(), start=1):
        one = made.field.add(name=field, number=number, label=kind.LABEL_OPTIONAL, type=kind.TYPE_DOUBLE)
        if of == "map":
            entry = made.nested_type.add(name=f"{field.title()}Entry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_STRING)
            entry.field.add(name="value", number=2, label=kind.LABEL_OPTIONAL, type=kind.TYPE_DOUBLE)
            one.label = kind.LABEL_REPEATED
        if of != "double":
            one.type = kind.TYPE_MESSAGE
            one.type_name = f".test.{name}" + (f".{field.title()}Entry" if of == "map" else "")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))
