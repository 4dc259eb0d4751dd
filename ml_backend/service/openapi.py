"""What the service answers, as an OpenAPI 3.1 document: the requests are Label Studio's, the answers ours."""

from __future__ import annotations

from typing import Any

TASKS = {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}, "data": {}}}}
ACTIONS = [
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "START_TRAINING",
    "PROJECT_UPDATED",
    "TASKS_CREATED",
    "TASKS_DELETED",
]
PREDICTION = {"result": {"type": "array", "maxItems": 0}, "score": {"type": "number"}, "model_version": {}}
ANNOTATION = {"id": {"type": "integer"}, "task": {"type": "integer"}, "completed_by": {}, "result": {}}


def document() -> dict[str, Any]:
    """The whole of it; small enough to be read."""
    event = {
        "action": {"anyOf": [{"enum": ACTIONS}, {"type": "string"}]},
        "annotation": _object(ANNOTATION, required=["id"]),
        "annotations": {"type": "array", "items": _object({"id": {"type": "integer"}})},
    }
    predict = _object({"tasks": TASKS, "project": {"type": "string"}}, required=["tasks"])
    health = _object({"status": {"const": "UP"}, "model_class": {}, "model_version": {"type": "string"}})
    versions = _object({"versions": {"type": "array", "items": {"type": "string"}}})
    version = _object({"model_version": {"type": "string"}})
    predictions = _object({"results": {"type": "array", "items": _object(PREDICTION)}, "model_version": {}})
    paths = {
        "/health": {"get": _operation("Whether it is up, and with which model", health, open_to_all=True)},
        "/setup": {"post": _operation("Label Studio introduces a project", version, body=_object({}))},
        "/predict": {"post": _operation("A place in the queue for each task", predictions, body=predict)},
        "/webhook": {"post": _webhook(_object(event, required=["action"]))},
        "/versions": {"get": _operation("The model versions", versions)},
        "/metrics": {"get": _operation("For Prometheus", {"type": "string"}, kind="text/plain")},
        "/": {"get": _operation("The same for a person", {"type": "string"}, kind="text/html")},
        "/reports": {"get": _operation("The quality reports", {"type": "string"}, kind="text/html")},
        "/reports/{name}": {
            "get": _named(_operation("One, or `live`: all answers", {"type": "string"}, kind="text/html"))
        },
        "/openapi.json": {"get": _operation("This document", {"type": "object"})},
    }
    secured = {
        "password": {"type": "http", "scheme": "basic"},
        "secret": {"type": "apiKey", "in": "header", "name": "X-Robopref-Secret"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Robopref's ML backend for Label Studio", "version": "1"},
        "paths": paths,
        "security": [{"password": []}],
        "components": {"securitySchemes": secured},
    }


def _named(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation on what the path names, which may not be there."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    missing = {"description": "There is no such batch", "content": {"application/json": {"schema": _object({})}}}
    page = operation["responses"]["200"]["content"]
    soon = {"description": "It is being made; a page says so and asks again", "content": page}
    return {**operation, "parameters": [name], "responses": {**operation["responses"], "202": soon, "404": missing}}


def _webhook(event: dict[str, Any]) -> dict[str, Any]:
    made = _operation("What happened in Label Studio; stored, and never trained on", _object({}), body=event, good=201)
    return {**made, "security": [{"secret": []}, {"password": []}]}


def _operation(
    summary: str,
    answer: dict[str, Any],
    *,
    body: dict[str, Any] | None = None,
    good: int = 200,
    kind: str = "application/json",
    open_to_all: bool = False,
) -> dict[str, Any]:
    failed = {"application/json": {"schema": _object({"error": {"type": "string"}}, required=["error"])}}
    answers = {str(good): {"description": "Done", "content": {kind: {"schema": answer}}}}
    if not open_to_all:
        answers["401"] = {"description": "Credentials are missing or wrong", "content": failed}
    if body is not None:
        for status, why in ((400, "Not what was expected"), (413, "Too large"), (415, "Not JSON")):
            answers[str(status)] = {"description": why, "content": failed}
    answers["503"] = {"description": "The database cannot be used just now", "content": failed}
    made: dict[str, Any] = {"summary": summary, "responses": answers}
    if open_to_all:
        made["security"] = []
    if body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return made


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": properties}
    return {**made, "required": required} if required else made
