"""Log lines of the service and the worker: text for people, or one JSON object each; and the request they belong to.

A request is one call of the service (a webhook, a page) or one pull from Label Studio. Its id is in every line that
it causes, in the reply's X-Request-ID, and in the judgments that it brought (`Judgment.request_id`).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import secrets
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from preference.formats import printable
from preference.work import console, output

LogFormat = Literal["text", "json"]
HEADER = "X-Request-ID"
_GIVEN = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_current: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """Of the request at hand; empty outside of one."""
    return _current.get()


def new_request_id(given: str | None = None, *, kind: str = "") -> str:
    """The id that a client or a proxy gave, where it is one that a log can hold; otherwise a new one.

    Args:
        kind: How a new one begins, such as `pull`.
    """
    if given and _GIVEN.fullmatch(given):
        return given
    return f"{kind}-{secrets.token_hex(8)}".lstrip("-")


@contextlib.contextmanager
def request(identifier: str) -> Iterator[str]:
    """Lines logged inside, by this thread, belong to this request."""
    token = _current.set(identifier)
    try:
        yield identifier
    finally:
        _current.reset(token)


def tell(log: logging.Logger, message: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """One line about one event: a constant message and what it is about, such as `task=12`.

    Args:
        fields: `request_id` stands for the request at hand where it is given.
    """
    log.log(level, message, extra={"fields": fields})


def set_up(form: LogFormat) -> None:
    """Log to stderr in this form. With `json`, everything else that this process says is such a line, too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("robopref").setLevel(logging.INFO)
    logging.captureWarnings(True)
    if form == "json":
        console.file = output.file = _Lines(logging.getLogger("robopref.console"))
        sys.excepthook = _log_crash


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("robopref").critical("crashed", exc_info=(kind, error, trace))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = dict(getattr(record, "fields", {}))
    found.setdefault("request_id", request_id())
    return {key: value for key, value in found.items() if value not in ("", None, [])}


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = {"time": _moment(record), "level": record.levelname.lower(), "logger": record.name}
        said |= {"message": record.getMessage(), **_fields(record)}
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


class _Text(logging.Formatter):
    """What comes from outside can neither begin a new line nor move a cursor."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        said = f"{_moment(record)} {record.levelname.lower()} {record.name}: {record.getMessage()}{fields}"
        said = printable(said).replace("\n", "\\n")
        return f"{said}\n{printable(self.formatException(record.exc_info))}" if record.exc_info else said


class _Lines(io.StringIO):
    """Whatever is written, line by line into a log."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self._log, self._begun = log, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self._log.info("%s", line.rstrip())
        return len(text)
