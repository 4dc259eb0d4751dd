"""reward_model.onnx: a trained model and its encoder in, the whole path from frames to reward as one ONNX graph out.

Resizing, pixel normalization, encoder, input normalization and the mean over the ensemble are inside the graph;
batch, length and image size are dynamic. The file also carries a description of its input (`contract`), which
inference.py checks against and INPUT_FORMAT.md is written from, so that neither can disagree with the model.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from ml_backend.reward.encoder import Encoder
from ml_backend.reward.features import Features
from ml_backend.reward.layout import UNSEEN
from ml_backend.reward.model import ModelSpec, RewardModel
from preference.artifacts import replacing, sha256_of
from preference.config import Clips

OPSET = 20
"""18 is the first whose Resize can antialias; onnxruntime 1.18, the oldest that we support, has 20."""
OUTPUTS = {
    "reward": "mean over the ensemble's members; higher is better",
    "rewards": "each step's part of the reward; over the steps they add up to it",
    "progress": "of each step, from 0 to 1, where the task is done",
    "success": "probability that the task has been done by this step",
}
SPREAD = "spread"
"""Of `reward`; `rewards_spread` and so on of the others."""
METADATA = "robopref"


@dataclass(frozen=True)
class Example:
    """One real trajectory at the model's rate, for parity and for the contract."""

    trajectory_id: str
    frames: np.ndarray
    """(T, H, W, 3) uint8, of the primary camera."""
    actions: np.ndarray
    """(T, A) float32."""
    state: np.ndarray
    """(T, S) float32."""
    others: tuple[np.ndarray | None, ...] = ()
    """The same of the further cameras; None where one is missing."""
    robot: int = 0
    task: int = UNSEEN
    """Both as in the model's layout."""

    def feed(self, spec: ModelSpec) -> dict[str, np.ndarray]:
        """A batch of one, under the names of the graph's inputs."""
        steps = len(self.actions)
        placed = spec.layout.place(
            Features(np.zeros((steps, 0), np.float16), self.actions, self.state), self.robot, self.task
        )
        black = np.zeros((steps, 8, 8, 3), np.uint8)
        views = [self.frames if self.frames.size else None, *self.others][: max(1, len(spec.cameras))]
        views += [None] * (max(1, len(spec.cameras)) - len(views))
        arrays = dict(zip(view_names(spec), (black if view is None else view for view in views), strict=True))
        arrays |= {"actions": placed.actions, "state": placed.state[:, : len(spec.state_names)]}
        arrays |= {"mask": np.ones(steps, dtype=bool), "views": np.array([view is not None for view in views])}
        arrays |= {"task": np.array(self.task, dtype=np.int64)}
        return {name: np.ascontiguousarray(arrays[name][None]) for name in input_names(spec)}


def view_names(spec: ModelSpec) -> list[str]:
    """The graph's inputs of pictures: `frames`, and `frames_2` … of the further cameras."""
    return ["frames", *(f"frames_{number}" for number in range(2, len(spec.cameras) + 1))]


def input_names(spec: ModelSpec) -> list[str]:
    """The graph's inputs, in order."""
    names = view_names(spec) if "frames" in spec.inputs else []
    names += [name for name in ("actions", "state") if name in spec.inputs]
    names += ["views"] if "frames" in spec.inputs and spec.cameras else []
    return [*names, *(["task"] if spec.task_columns else []), "mask"]


def output_names(spec: ModelSpec) -> list[str]:
    """The graph's outputs, in order: each with its standard deviation over the members."""
    return ["reward", SPREAD, *(f"{name}{end}" for name in ("rewards", *spec.outcomes) for end in ("", f"_{SPREAD}"))]


class WholePath(nn.Module):
    """From the graph's inputs, in the order of `input_names`, to its outputs, in that of `output_names`."""

    def __init__(self, model: RewardModel, encoder: Encoder | None) -> None:
        super().__init__()
        self.encoder = encoder.module if encoder is not None else None
        self.head = model
        self.names = input_names(model.spec)
        self.eval()

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(self.names, inputs, strict=True))
        spec = self.head.spec
        batch, steps = given["mask"].shape
        unused = given["mask"].new_zeros((batch, steps, 0), dtype=torch.float32)
        features = unused
        if self.encoder is not None:
            views = []
            for number, name in enumerate(view_names(spec)):
                view = self.encoder(given[name].flatten(0, 1)).reshape(batch, steps, -1)
                if "views" in given:
                    view = torch.where(given["views"][:, number].reshape(batch, 1, 1), view, torch.nan)
                views.append(view)
            features = torch.cat(views, dim=-1)
            # Not rounded to the cache's half precision: where two runtimes differ in the last bit, rounding makes
            # a thousandth of it, and their rewards would differ more than unrounded ones do
        state = given.get("state", unused)
        if spec.task_columns:
            tasks = torch.arange(len(spec.task_types), dtype=torch.int64, device=state.device)
            own = (given["task"].reshape(batch, 1, 1) == tasks).float().expand(batch, steps, len(tasks))
            rest = state.new_zeros((batch, steps, len(spec.state_names))) if state is unused else state
            state = torch.cat([rest, own], dim=-1)
        seen, mask = self.head.normalize(features, given.get("actions", unused), state), given["mask"]
        said = self.head.dense(seen, mask)
        found = [said["rewards"].sum(dim=2), *said.values()]
        return tuple(value for one in found for value in (one.mean(dim=0), one.std(dim=0, unbiased=False)))


def export_onnx(whole: nn.Module, spec: ModelSpec, contract: Mapping[str, Any], path: Path, kept: Path) -> None:
    """Write the graph of `whole` to `path`, with its description; the same model gives the same bytes.

    Args:
        kept: Where the graph alone is cached for the next release of the same model: it takes most of a release's time.
    """
    if not kept.is_file():
        with replacing(kept) as temporary:
            temporary.write_bytes(_graph(whole, spec).SerializeToString(deterministic=True))
    proto = onnx.load(kept)
    proto.metadata_props.add(key=METADATA, value=json.dumps(contract, sort_keys=True))
    path.write_bytes(proto.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path))


def kept_graph(folder: Path) -> Path:
    """Where the graph of the model in `folder` is cached; the name depends on the weights and the exporter."""
    parts = [f"{OPSET} {torch.__version__}", *(sha256_of(path) for path in sorted(folder.glob("*.pt")))]
    return folder / f"graph.{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}.onnx"


def _graph(whole: nn.Module, spec: ModelSpec) -> Any:
    names = input_names(spec)
    batch, steps = torch.export.Dim("batch"), torch.export.Dim("time")
    shapes: dict[str, dict[int, Any]] = {name: {0: batch, 1: steps} for name in names}
    shapes |= {name: {0: batch} for name in ("views", "task") if name in names}
    for name in view_names(spec) if "frames" in names else ():
        end = name.removeprefix("frames")
        shapes[name] |= {2: torch.export.Dim(f"height{end}"), 3: torch.export.Dim(f"width{end}")}
    sizes = {"actions": len(spec.action_names), "state": len(spec.state_names)}
    # 2 and 3, not 1: the exporter takes a dimension of 1 for a constant
    example = {name: torch.zeros(2, 3, sizes[name]) for name in names if name in sizes}
    example |= {name: torch.zeros(2, 3, 96, 128, 3, dtype=torch.uint8) for name in view_names(spec)}
    example["views"] = torch.ones(2, len(spec.cameras), dtype=torch.bool)
    example["task"] = torch.zeros(2, dtype=torch.int64)
    example["mask"] = torch.ones(2, 3, dtype=torch.bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            whole,
            tuple(example[name] for name in names),
            dynamo=True,
            dynamic_shapes=(tuple(shapes[name] for name in names),),
            input_names=names,
            output_names=output_names(spec),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    return _bare(program.model_proto)


def _bare(proto: Any) -> Any:
    """`proto` without the exporter's notes: they name files of this machine."""
    graph = proto.graph
    parts = [proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info]
    for function in proto.functions:
        parts += [function, *function.node]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    proto.producer_name, proto.producer_version = "robopref", ""
    return proto


def contract_of(
    spec: ModelSpec,
    features: Sequence[Features],
    clips: Clips,
    examples: Sequence[Example],
    columns: Mapping[str, Any],
    units: Mapping[str, str],
    *,
    name: str,
    version: str,
) -> dict[str, Any]:
    """What the model expects, as plain JSON: layouts, ranges and lengths over its pool.

    Args:
        features: Of the pool's trajectories.
        examples: At least one; its frames have the size that the model was trained on.
        columns: `camera`, and for `actions` and `state` the columns of the source dataset that they come from, each as
            (column, indices), so that inference.py finds them in other datasets of the same layout; `widths`, the
            numbers in a row of each; and where the model knows several robots, `robots`: the same of each.
        units: By name, of those actions and state values whose unit is known.
    """
    lengths = [len(item) for item in features]
    trained = examples[0].frames.shape[1:3] if "frames" in spec.inputs else (0, 0)
    contract: dict[str, Any] = {
        "format": 1,
        "name": name,
        "version": version,
        "columns": dict(columns),
        "convention": "P(a over b) = 1 / (1 + exp(r_b - r_a))",
        "inputs": list(spec.inputs),
        "outputs": output_names(spec),
        "task_types": list(spec.task_types),
        "task_columns": spec.task_columns,
        "cameras": list(spec.cameras),
        "additive": not spec.summary,
        "robots": [{"name": str(r), "actions": r.actions, "state": r.state} for r in spec.layout.robots],
        "encoder": spec.encoder,
        "weights": spec.weights,
        "image_size": [spec.image_size, spec.image_size],
        "trained_size": list(trained),
        "sample_fps": spec.sample_fps,
        "max_frames": spec.max_frames,
        "length": [min(lengths), max(lengths)],
        "horizon": list(spec.horizon) if spec.progress else [],
        "before_s": clips.before_s,
    }
    for key, names in (("actions", spec.action_names), ("state", spec.state_names)):
        if key in spec.inputs:
            values = np.concatenate([np.asarray(getattr(item, key))[:, : len(names)] for item in features])
            contract[key] = {
                "size": len(names),
                "names": list(names),
                "units": [units.get(name, "") for name in names],
                "low": np.nanmin(values, axis=0).tolist(),
                "high": np.nanmax(values, axis=0).tolist(),
            }
    return contract


def describe_graph(path: Path) -> dict[str, list[dict[str, str]]]:
    """Names, types and shapes of the inputs and outputs of the file at `path`, for INPUT_FORMAT.md."""
    session = _session(path)

    def row(node: Any) -> dict[str, str]:
        shape = ", ".join(str(size) for size in node.shape)
        kind = node.type.removeprefix("tensor(").removesuffix(")").replace("float", "float32")
        of = node.name.removesuffix(SPREAD).removesuffix("_") or "reward"
        words = OUTPUTS.get(node.name) or (f"standard deviation of {of} over the members" if of in OUTPUTS else "")
        return {"name": node.name, "type": kind, "shape": f"({shape})", "words": words}

    return {"inputs": [row(n) for n in session.get_inputs()], "outputs": [row(n) for n in session.get_outputs()]}


def parity(path: Path, whole: nn.Module, spec: ModelSpec, examples: Sequence[Example]) -> dict[str, float]:
    """Output → largest difference between ONNX Runtime and torch over `examples` and what `_odd_ones` makes of them;
    nan where one of the two gives nan. What stands beyond an episode's end is left aside."""
    session, names = _session(path), output_names(spec)
    largest = dict.fromkeys(names, 0.0)
    for feed in (*(example.feed(spec) for example in examples), _odd_ones(spec, examples)):
        found = session.run(names, feed)
        with torch.inference_mode():
            expected = whole(*(torch.from_numpy(feed[name]) for name in input_names(spec)))
        for name, one, other in zip(names, found, expected, strict=True):
            there = feed["mask"] if one.ndim == 2 else slice(None)
            largest[name] = float(np.maximum(largest[name], np.abs(one - other.numpy())[there].max()))
    return largest


def _odd_ones(spec: ModelSpec, examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """One batch of episodes of different lengths: the shortest example as it is, without its robot, without its task,
    without each of its cameras, and its first row alone."""
    whole = min(examples, key=lambda example: len(example.actions))
    first, *others = whole.frames, *whole.others
    without = [replace(whole, frames=first[:, :0])] if others else []
    for number in range(len(others)):
        without += [replace(whole, others=(*others[:number], None, *others[number + 1 :]))]
    rows = tuple(None if view is None else view[:1] for view in others)
    start = replace(whole, frames=first[:1], actions=whole.actions[:1], state=whole.state[:1], others=rows)
    several = [whole, replace(whole, robot=UNSEEN), replace(whole, task=UNSEEN), *without, start]
    feeds = [example.feed(spec) for example in several]

    def together(arrays: Sequence[np.ndarray]) -> np.ndarray:
        shape = np.max([array.shape for array in arrays], axis=0)
        short = [[(0, size - own) for size, own in zip(shape, array.shape, strict=True)] for array in arrays]
        return np.concatenate([np.pad(array, pads) for array, pads in zip(arrays, short, strict=True)])

    return {name: together([feed[name] for feed in feeds]) for name in feeds[0]}


def _session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
