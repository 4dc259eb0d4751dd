"""The files of a release: what was gathered in, a folder with everything but SHA256SUMS out."""

from __future__ import annotations

import shutil
import statistics
from importlib.resources import files
from pathlib import Path
from typing import Any

from ml_backend.loop.validate import PAGE
from ml_backend.release import card
from ml_backend.release import onnx as onnx_export
from ml_backend.release.croissant import Table, croissant
from ml_backend.release.features_file import write_features_file
from ml_backend.release.gather import Source
from ml_backend.release.model_facts import card_facts
from ml_backend.release.notebook import dumps, to_notebook
from ml_backend.release.plots import plot_labels, plot_rewards
from ml_backend.release.preferences import COLUMNS, judgment_rows, write_parquet
from ml_backend.release.reports import batch_reports, released_answers, write_reports
from ml_backend.reward import checkpoint
from preference.artifacts import sha256_of, write_json, write_jsonl
from preference.errors import UserError

JUDGMENT_COLUMNS = (
    "pair_id",
    "trajectory_a_id",
    "trajectory_b_id",
    "annotator_id",
    "preference",
    "confidence",
    "response_time_ms",
    "free_text_reason",
    "kind",
    "stratum",
    "batch_id",
    "left",
    "is_duplicate",
)
FILES = {
    "preferences.parquet": "the resolved label of each pair, with its split",
    "preferences.jsonl": "the same, one JSON object per line",
    "judgments.parquet": "the single answers behind the labels",
    "manifest.csv": "each trajectory's source dataset, episode, quality and clip checksum",
    "rewards.csv": "the reward of each trajectory of the pool, by the released model",
    "reward_model.onnx": "the reward model: frames, actions and state in, reward out",
    "reward_model.pt": "the same for PyTorch: head, encoder and description, loadable with weights_only",
    "inference.py": "scores trajectories; needs numpy and onnxruntime only",
    "INPUT_FORMAT.md": "what images, actions and state must look like",
    "features.npz": "frame features, actions and state of the compared trajectories, for the notebook",
    "reproduce.ipynb": "trains from scratch on the labels and tests on the held-out pairs",
    "training.json": "the settings that the model was trained with, for the notebook",
    "validation.html": "can the model be trusted? Accuracy, calibration, probes, the best and the worst as filmstrips",
    "validation.json": "every figure of that page",
    "reports": "quality control of each batch: report.html, and its figures as qc.json and CSV",
    "croissant.json": "this dataset described in Croissant 1.0",
    "CITATION.cff": "how to cite it",
    "CHANGELOG.md": "what changed from version to version",
    "LICENSE": "the licence",
    "SHA256SUMS": "checksums: sha256sum --check SHA256SUMS",
}
PARITY = 1e-4
"""Rewards of the exported graph may differ from torch's by so much; where rewards spread wider than 1, by so much of
their standard deviation: both runtimes compute in single precision."""


def write_contents(source: Source, version: str, changelog: str, folder: Path) -> float:
    """Every file of the release but SHA256SUMS; returns the measured parity."""
    _write_tables(source, folder)
    contract, parity = _write_model(source, version, folder)
    _write_training(source, folder)
    answers = released_answers(source)
    reports = batch_reports(source, answers)
    write_reports(source, reports, answers, folder / "reports")
    plot_labels(source.rows, folder / "plots" / "labels.png")
    plot_rewards(source.trajectories, source.rewards, folder / "plots" / "rewards.png")
    parts = {name: words for name, words in FILES.items() if _is_part(folder, name)}
    facts = card_facts(source, answers, reports, version=version, parity=parity, files=parts)
    graph = onnx_export.describe_graph(folder / "reward_model.onnx")
    _write(folder / "README.md", card.render("README.md", f=facts))
    _write(folder / "INPUT_FORMAT.md", card.render("INPUT_FORMAT.md", c=contract | {"graph": graph}))
    _write(folder / "CITATION.cff", card.render("CITATION.cff", f=facts))
    _write(folder / "CHANGELOG.md", changelog)
    _write(folder / "LICENSE", _license(facts.license))
    write_json(folder / "croissant.json", _croissant(folder, facts), sort_keys=True)
    return parity


def _is_part(folder: Path, name: str) -> bool:
    later = {"INPUT_FORMAT.md", "CITATION.cff", "CHANGELOG.md", "LICENSE", "croissant.json", "SHA256SUMS"}
    return name in later or (folder / name).exists()


def _write_tables(source: Source, folder: Path) -> None:
    from importer.pool.manifest import write_manifest

    write_parquet(source.rows, folder / "preferences.parquet", [*COLUMNS, "split"])
    write_jsonl(folder / "preferences.jsonl", source.rows)
    resolved = {p.pair_id for p in source.preferences}
    answers = judgment_rows(source.judgments, source.views, resolved, source.names)
    write_parquet(answers, folder / "judgments.parquet", JUDGMENT_COLUMNS)
    write_manifest(folder / "manifest.csv", source.trajectories)
    lines = [f"{name},{reward:.6f}\n" for name, reward in sorted(source.rewards.items())]
    _write(folder / "rewards.csv", "trajectory_id,reward\n" + "".join(lines))


def _write_model(source: Source, version: str, folder: Path) -> tuple[dict[str, Any], float]:
    """reward_model.onnx and .pt; returns the contract and the parity.

    Raises:
        UserError: the exported graph does not compute what the model does.
    """
    spec, ws = source.spec, source.ws
    contract = onnx_export.contract_of(
        spec, list(source.features.values()), ws.config.clips, source.examples, source.columns, ws.config.release.units,
        name=ws.config.name, version=version,
    )  # fmt: skip
    whole = onnx_export.whole_path(source.model, source.encoder)
    path = folder / "reward_model.onnx"
    onnx_export.export_onnx(whole, spec, contract, path, onnx_export.kept_graph(source.model_file.parent))
    parity = onnx_export.parity(path, whole, spec, source.examples)
    allowed = PARITY * max(1.0, statistics.pstdev(source.rewards.values()))
    if not parity <= allowed:
        raise UserError(
            f"reward_model.onnx differs from the model by {parity:.2g}; at most {allowed:.2g} is allowed.",
            fix="This combination of torch and onnxruntime does not fit; see constraints.txt.",
        )
    saved = checkpoint.load(source.model_file, "reward model", fix="Run `robopref train`.")
    # The encoder too: a random one could be had nowhere else, a pretrained one may be gone from its host some day
    saved["encoder_state"] = source.encoder.module.state_dict() if source.encoder else {}
    saved["contract"] = contract
    checkpoint.save(saved, folder / "reward_model.pt")
    return contract, parity


def _write_training(source: Source, folder: Path) -> None:
    """What the notebook needs: features, settings, and itself."""
    write_features_file(source.features, source.compared, source.spec, folder / "features.npz")
    spec, reward = source.spec, source.trained
    names = ("ties", "margin", "slip", "learning_rate", "weight_decay", "batch_pairs", "epochs", "patience")
    settings = {name: getattr(reward, name) for name in names}
    settings |= {name: getattr(spec, name) for name in ("temporal", "hidden", "members", "projection")}
    settings |= {"inputs": list(spec.inputs), "seed": source.ws.config.seed}
    settings |= {"model_version": source.record.version, "model_sha256": sha256_of(source.model_file)}
    write_json(folder / "training.json", settings, sort_keys=True)
    write_json(folder / "validation.json", source.validation, sort_keys=True)
    shutil.copyfile(source.model_file.with_name(PAGE), folder / PAGE)
    _write(folder / "reproduce.ipynb", dumps(to_notebook(_template("reproduce.py"))))
    _write(folder / "inference.py", _template("inference.py"))


def _croissant(folder: Path, facts: card.Facts) -> dict[str, Any]:
    text, real, whole = "sc:Text", "sc:Float", "sc:Integer"
    kinds = {"confidence_mean": real, "num_annotators": whole, "agreement": real, "confidence": whole}
    kinds |= {"response_time_ms": whole, "is_duplicate": "sc:Boolean"}
    preferences = {name: kinds.get(name, text) for name in (*COLUMNS, "split")} | {"preference": real}
    tables = [
        Table("preferences.parquet", preferences, repeated=("annotator_ids",)),
        Table("judgments.parquet", {name: kinds.get(name, text) for name in JUDGMENT_COLUMNS}),
        Table("rewards.csv", {"trajectory_id": text, "reward": real}),
    ]
    return croissant(
        folder,
        name=facts.title,
        version=facts.version,
        date=facts.date,
        license_url=f"https://spdx.org/licenses/{facts.license}",
        description=f"{facts.pairs} labelled pairs of robot trajectories and the reward model learned from them.",
        tables=tables,
    )


def _license(identifier: str) -> str:
    """The licence's text where Robopref carries it, otherwise where it is to be read."""
    text = files("ml_backend.release").joinpath("templates", "licenses", f"{Path(identifier).name}.txt")
    if text.is_file():
        return text.read_text(encoding="utf-8")
    return f"SPDX-License-Identifier: {identifier}\n\nThe licence's text: https://spdx.org/licenses/{identifier}.html\n"


def _template(name: str) -> str:
    return files("ml_backend.release").joinpath("templates", name).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
