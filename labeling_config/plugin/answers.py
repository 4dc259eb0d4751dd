"""What an annotator may submit: one whole answer to each pair, and no change once a test is finished.

A request body and Label Studio's rows in, nothing or `Refused` out. Only projects that Robopref made are concerned:
their descriptions name a phase.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from labeling_config import contract
from labeling_config.plugin import others, progress
from labeling_config.plugin.one_answer import ANSWERED

LARGEST_BODY = 64_000
"""Bytes that an annotator may send at once: an answer, a draft, a tab. The screen sends about a thousand."""
MOST_SKIPS = MOST_DRAFTS = 50
"""Of one pair, by one person. The screen keeps one draft, and makes a skip of each time a pair is skipped."""
DEEPEST = 32
"""Levels of nesting; the screen needs six. Near Python's own limit a body can be stored and no longer be listed."""
LARGEST_TIME = 1e15
"""Seconds. Label Studio takes the text "inf" for a number, too."""


class Refused(Exception):
    """An annotator's request that must not happen; `status` is the HTTP status of the reply."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.status = message, status


def check_new(user: Any, task: Any, body: Mapping[str, Any]) -> None:
    """Before an answer to `task` is stored.

    Raises:
        Refused: it is malformed, the pair has an answer already or was skipped too often, or it belongs to a test and
            the training is not finished.
    """
    from tasks.models import Annotation  # pyright: ignore[reportMissingImports]

    description = task.project.description
    if not contract.phase_of(description):
        return
    check_body(body, task.project.label_config)
    # The expert's sets are no tests: their answers make the truth, in any order.
    if contract.is_final(description) and progress.in_training(progress.stages_of(user)):
        raise Refused("Finish the training first, skipped pairs too; the test comes after it.", 403)
    own = Annotation.objects.filter(task=task, completed_by=user)
    if own.filter(was_cancelled=False).exists():
        raise Refused(ANSWERED, 409)
    _check_blind(user, task, body)
    # an answer may be turned into a skip afterwards, so answers are counted too: there is room for one more
    if own.count() >= MOST_SKIPS + (body.get("was_cancelled") is not True):
        raise Refused(f"You have skipped this pair {MOST_SKIPS} times.", 429)


def check_change(user: Any, annotation: Any, body: Mapping[str, Any]) -> None:
    """Before a stored answer is changed.

    Raises:
        Refused: the new one is malformed, or the old one belongs to a test that is finished.
    """
    description = annotation.task.project.description
    if not contract.phase_of(description):
        return
    check_body(body, annotation.task.project.label_config)
    if contract.is_final(description) and progress.finished_since(user, annotation):
        raise Refused("This test is finished: its answers can no longer be changed.", 403)
    _check_blind(user, annotation.task, body)


def _check_blind(user: Any, task: Any, body: Mapping[str, Any]) -> None:
    """In adjudication one's own answer stays as it was when the others' were shown.

    Raises:
        Refused: it says something else now.
    """
    if body.get("was_cancelled") is True or not others.is_adjudicated(task):
        return
    blind = others.blind_of(user, task)
    if blind and contract.answer_of(body).side != blind:
        raise Refused(f"Your answer came before the others' and stays: {blind}.", 409)


def check_draft(user: Any, task: Any, body: Mapping[str, Any], *, new: bool) -> None:
    """Before a draft is stored. It may be half an answer, but not something else.

    Raises:
        Refused: it is, or there are many of this pair already.
    """
    from tasks.models import AnnotationDraft  # pyright: ignore[reportMissingImports]

    if not contract.phase_of(task.project.description):
        return
    check_regions(body.get("result", []))
    if new and AnnotationDraft.objects.filter(task=task, user=user).count() >= MOST_DRAFTS:
        raise Refused(f"There are {MOST_DRAFTS} drafts of this pair already.", 429)


def check_storable(body: Mapping[str, Any]) -> None:
    """Label Studio stores more than it can send: one such value makes every list that holds it fail.

    Raises:
        Refused: there are lone surrogates or infinite numbers in it, or it is nested too deeply.
    """
    try:
        fine = not _deeper_than(DEEPEST, body)
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        fine = False
    if not fine:
        raise Refused("The answer contains characters, numbers or nesting that cannot be stored.")
    time = body.get("lead_time")
    if time is not None and not (type(time) in (int, float) and abs(time) < LARGEST_TIME):
        raise Refused("`lead_time` must be a number.")


def _deeper_than(levels: int, value: object) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 1 or _deeper_than(levels - 1, item) for item in inner)


def check_body(body: Mapping[str, Any], template: str) -> None:
    """One whole answer or a skip.

    A template that somebody edited so that its answers cannot be read is the manager's to fix, not the annotator's:
    its answers are stored, and `pull` rejects them with the reason.

    Raises:
        Refused: it is something else; the message says what.
    """
    check_regions(body.get("result"))
    if contract.is_settled(body):
        raise Refused("Which pairs need no answer is not an annotator's to say.")
    if body.get("was_cancelled") is True or contract.missing_in(template):
        return
    try:
        contract.answer_of(body)
    except contract.BadAnswer as bad:
        raise Refused(f"This is not one answer to the pair: {bad.reason}.") from None


def check_regions(result: object) -> None:
    """What an answer and a draft have in common.

    Raises:
        Refused: `result` is no list of regions, or its reason is not text.
    """
    if not isinstance(result, list) or not all(isinstance(region, dict) for region in result):
        raise Refused("`result` must be a list of objects.")
    if any(region.get("from_name") == contract.REASON and not _is_text(region) for region in result):
        raise Refused("`reason` must be text.")


def _is_text(region: Mapping[str, Any]) -> bool:
    value = region.get("value")
    text = value.get("text") if isinstance(value, dict) else None
    return isinstance(text, str) or (isinstance(text, list) and all(isinstance(part, str) for part in text))
