"""croissant.json: the release described for machines, in Croissant 1.0 (MLCommons; JSON-LD over schema.org).

In: the release's folder and a few facts. Out: a dictionary for json.dump. Record sets describe the tables' columns, so
that a Croissant reader can load them without knowing Robopref.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preference.artifacts import sha256_of

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_FORMATS = {
    ".parquet": "application/x-parquet",
    ".jsonl": "application/jsonlines",
    ".csv": "text/csv",
    ".npz": "application/zip",
    ".onnx": "application/octet-stream",
    ".pt": "application/octet-stream",
    ".json": "application/json",
    ".py": "text/x-python",
    ".ipynb": "application/x-ipynb+json",
    ".md": "text/markdown",
}

DESCRIPTIONS = {
    "pair_id": "Identifier of the pair.",
    "trajectory_a_id": "The pair's first trajectory; a trajectory_id of the manifest.",
    "trajectory_b_id": "The pair's second trajectory; a trajectory_id of the manifest.",
    "confidence_mean": "Mean confidence of the annotators, 1 (guess) to 5 (sure).",
    "num_annotators": "How many annotators answered.",
    "agreement": "Fraction of the annotators who gave the winning answer.",
    "annotator_ids": "Who answered.",
    "annotator_id": "Who answered.",
    "split": "train, validation or test, as the released reward model was trained.",
    "confidence": "1 (guess) to 5 (sure).",
    "response_time_ms": "From the first play to the answer, in milliseconds.",
    "is_duplicate": "The same pair shown again to the same annotator, sides swapped.",
    "left": "Which trajectory of the pair was shown on the left.",
}


@dataclass(frozen=True)
class Table:
    """A file of the release and its columns, name → `sc:` type."""

    file: str
    columns: Mapping[str, str]
    repeated: tuple[str, ...] = ()


def croissant(
    folder: Path, *, name: str, version: str, date: str, license_url: str, description: str, tables: Sequence[Table]
) -> dict[str, Any]:
    """The description of the release in `folder`; every data file is listed with its SHA-256."""
    listed = sorted(path for path in folder.iterdir() if path.suffix in _FORMATS and path.name != "croissant.json")
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "version": version,
        "datePublished": date,
        "license": license_url,
        "url": f"urn:robopref:{name}:{version}",
        "citeAs": f"{name} {version}, human preferences over robot trajectories collected with Robopref.",
        "distribution": [_file_object(path) for path in listed],
        "recordSet": [_record_set(table) for table in tables],
    }


def _file_object(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": _FORMATS[path.suffix],
        "sha256": sha256_of(path),
    }


def _record_set(table: Table) -> dict[str, Any]:
    name = Path(table.file).stem
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [_field(table, name, column, kind) for column, kind in table.columns.items()],
    }


def _field(table: Table, record_set: str, column: str, kind: str) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{record_set}/{column}",
        "name": column,
        "description": DESCRIPTIONS.get(column, column.replace("_", " ")),
        "dataType": kind,
        "source": {"fileObject": {"@id": table.file}, "extract": {"column": column}},
    }
    return field | ({"repeated": True} if column in table.repeated else {})
