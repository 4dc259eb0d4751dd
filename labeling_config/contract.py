"""The template's names and values, in one place: annotation JSON in, `ScreenAnswer` out, and back.

`pair_compare.xml` and `calibration.xml` use exactly these names; a test holds the three together. Label Studio enforces
"required" in the browser only and its API stores anything, so every annotation goes through `answer_of`, which
raises `BadAnswer` rather than guess: an unknown label never becomes a tie.
"""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal
from xml.etree import ElementTree

from preference.errors import UserError
from preference.records import SKIPPED, Answer, Side

SIDES: tuple[Side, ...] = ("left", "equal", "right")
CONFIDENCES = (1, 2, 3, 4, 5)  # 1 = guessing, 5 = certain
TEMPLATES = ("pair_compare", "calibration")

# Controls (from_name) and the object they all point at (to_name).
PREFERENCE, CONFIDENCE, REASON = "preference", "confidence", "reason"
LEFT, RIGHT = "left", "right"
TO_NAME = LEFT

# Task data. All of it reaches the annotator's browser: nothing here may tell the tier, the source or that a pair is
# gold or a duplicate. `assignment_id` is an opaque token that means something in our database only.
ASSIGNMENT_ID, VIDEO_LEFT, VIDEO_RIGHT, FPS, QUESTION = "assignment_id", "video_left", "video_right", "fps", "question"
TASK_KEYS = (ASSIGNMENT_ID, VIDEO_LEFT, VIDEO_RIGHT, FPS, QUESTION)
# Training projects (calibration.xml) only.
EXPERT_ANSWER, EXPERT_REASONING = "expert_answer", "expert_reasoning"
EXPERT_KEYS = (EXPERT_ANSWER, EXPERT_REASONING)

GUIDELINES = "/robopref/guidelines"  # the page that the plugin serves
WATCH_KEY = "robopref"  # result[i]["meta"][WATCH_KEY]: what the plugin's script saw of the watching
# Lines of a project's description, which only a manager can edit: whose it is, which part of the course, and whether an
# answer may be submitted before both clips were seen to their end.
OWNER_LINE, MARK_LINE, WATCH_LINE = "annotator:", "robopref:", "watch:"
FREELY = "freely"
PHASES = ("training", "calibration-1", "calibration-2", "production")  # the order of an annotator's course

_SAID: dict[Side, str] = {"left": "Left is better", "equal": "Roughly equal", "right": "Right is better"}


class BadAnswer(UserError):
    """An annotation that is not one answer to one pair; `reason` says in a word or two why not."""

    def __init__(self, reason: str, *, annotation_id: object = None) -> None:
        where = "The annotation" if annotation_id is None else f"Annotation {annotation_id}"
        super().__init__(f"{where} holds no usable answer: {reason}.")
        self.reason = reason


@dataclass(frozen=True)
class ScreenAnswer:
    """What an annotator said about one pair, still in terms of the screen's left and right."""

    side: Side
    confidence: int  # 1 = guessing to 5 = certain
    reason: str = ""
    lead_time_s: float | None = None  # wall-clock seconds since the pair was opened, idle time included
    watch: Mapping[str, Any] = field(default_factory=dict)  # empty where the plugin's script did not run

    @property
    def response_ms(self) -> int | None:
        """Work from the first play to the choice of this answer, in ms, as the plugin measured it: the page in sight,
        and a clip playing or a key or click in the last 30 s. None where it did not."""
        found = self.watch.get("response_ms")
        usable = isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < float("inf")
        return round(found) if usable else None  # type: ignore[arg-type]


def load_template(name: str) -> str:
    """The labeling config `pair_compare` or `calibration`, ready to be a project's `label_config`."""
    if name not in TEMPLATES:
        raise UserError(f"There is no template {name!r}.", fix=f"Use one of: {', '.join(TEMPLATES)}.")
    return (files("labeling_config") / f"{name}.xml").read_text(encoding="utf-8")


def missing_in(template: str) -> list[str]:
    """Names and values of ours that a project's template lacks; empty where answers can be read."""
    try:
        root = ElementTree.fromstring(template)
    except ElementTree.ParseError:
        return ["everything: it is not XML"]
    missing = []
    for name, values in ((PREFERENCE, SIDES), (CONFIDENCE, tuple(map(str, CONFIDENCES)))):
        control = root.find(f".//Choices[@name='{name}']")
        if control is None:
            missing.append(name)
            continue
        there = {choice.get("value") for choice in control.iter("Choice")}
        missing += [f"{name} {value!r}" for value in values if value not in there]
    return missing


def explained(template: str) -> str:
    """The template as the expert gets it: the reason is not optional, since others learn from it."""
    required = 'placeholder="Why? Annotators learn from it." required="true" requiredMessage="Why? Press W to say it."'
    return template.replace('placeholder="Why? (optional)"', required)


def with_guidelines(template: str, address: str) -> str:
    """The template with its link to the guidelines leading to `address`; needed on a server without the plugin."""
    return template.replace(GUIDELINES, html.escape(html.escape(address)))


def answer_of(annotation: Mapping[str, Any]) -> ScreenAnswer:
    """Read an annotation as Label Studio's API, export or webhook delivers it; raises `BadAnswer`."""
    which = annotation.get("id")
    result = annotation.get("result")
    if annotation.get("was_cancelled"):
        why = _reason(result) if isinstance(result, list) else ""
        raise BadAnswer(f"{SKIPPED}: {why}" if why else SKIPPED, annotation_id=which)
    if not isinstance(result, list) or not result:
        raise BadAnswer("empty", annotation_id=which)
    try:
        side = _one_choice(result, PREFERENCE)
        if side not in SIDES:
            raise BadAnswer(f"unknown choice {side!r}")
        confidence = _confidence(result)
        return ScreenAnswer(side, confidence, _reason(result), _lead_time(annotation), _watch(result))
    except BadAnswer as bad:
        raise BadAnswer(bad.reason, annotation_id=which) from None


def result_of(side: Side, confidence: int, reason: str = "") -> list[dict[str, Any]]:
    """The `result` that the screen would submit for this answer, as simulated annotators send it."""
    if side not in SIDES:
        raise BadAnswer(f"unknown choice {side!r}")
    if isinstance(confidence, bool) or confidence not in CONFIDENCES:
        raise BadAnswer(f"confidence {confidence!r} is not a whole number from 1 to 5")
    result = [
        _region(PREFERENCE, "choices", {"choices": [side]}),
        _region(CONFIDENCE, "choices", {"choices": [str(int(confidence))]}),
    ]
    if reason:
        result.append(_region(REASON, "textarea", {"text": [reason]}))
    return result


def preference_of(side: Side, left: Literal["A", "B"]) -> Answer:
    """Which trajectory of the pair was preferred, given which of the two was shown on the left."""
    if side == "equal":
        return "equal"
    if side not in SIDES or left not in ("A", "B"):
        raise BadAnswer(f"unknown choice {side!r} with {left!r} on the left")
    return "A" if (side == "left") == (left == "A") else "B"


def side_of(preference: Answer, left: Literal["A", "B"]) -> Side:
    """The other way: the answer on the screen that means `preference`."""
    if preference == "equal":
        return "equal"
    if preference not in ("A", "B") or left not in ("A", "B"):
        raise BadAnswer(f"unknown preference {preference!r} with {left!r} on the left")
    return "left" if preference == left else "right"


def task_data(
    assignment_id: str, video_left: str, video_right: str, *, fps: float, question: str
) -> dict[str, str | float]:
    """The data of one task: everything an annotator's browser gets to know."""
    return dict(zip(TASK_KEYS, (assignment_id, video_left, video_right, fps, question), strict=True))


def expert_data(side: Side, reasoning: str) -> dict[str, str]:
    """What a training task has besides: the expert's answer and reasoning, shown once the annotator has answered."""
    return {EXPERT_ANSWER: f"The expert: {_SAID[side].lower()}", EXPERT_REASONING: reasoning}


def owner_line(*emails: str) -> str:
    """A line for a project's description that makes it these annotators' own, on a server with the plugin."""
    return f"{OWNER_LINE} {' '.join(email.strip().lower() for email in emails)}"


def mark_line(database: str, phase: str, annotator_id: str) -> str:
    """A line for a project's description by which a later run knows it again, whatever becomes of its title."""
    return f"{MARK_LINE} {database} {phase} {annotator_id}"


def watch_line(*, to_end: bool) -> str:
    """A line for a project's description: whether both clips have to be seen to their end before an answer counts."""
    return f"{WATCH_LINE} {'to the end' if to_end else FREELY}"


def phase_of(description: str | None) -> str:
    """`training`, `calibration-1`, ..., `production`; empty where the description has no mark."""
    words = next((words.split() for words in _lines(description, MARK_LINE)), [])
    return words[1] if len(words) > 1 else ""


def place_of(phase: str) -> int:
    """Which place of the course a phase has; one without a name is the last."""
    return PHASES.index(phase) if phase in PHASES else len(PHASES)


def watch_to_end(description: str | None) -> bool:
    """Whether both clips have to be seen to their end; yes unless a line says `watch: freely`."""
    return FREELY not in [words.strip().lower() for words in _lines(description, WATCH_LINE)]


def owners_of(description: str | None) -> frozenset[str]:
    """The annotators, by e-mail address, whose project this is."""
    owned = _lines(description, OWNER_LINE)
    return frozenset(email.lower() for names in owned for email in names.replace(",", " ").split())


def _lines(description: str | None, begin: str) -> list[str]:
    """What stands after `begin` on the lines that begin so."""
    lines = (line.strip() for line in (description or "").splitlines())
    return [line[len(begin) :] for line in lines if line.lower().startswith(begin)]


def _region(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    # The screen draws a random id; it has to be unique within one annotation only.
    return {"id": name, "from_name": name, "to_name": TO_NAME, "type": kind, "value": value, "origin": "manual"}


def _named(result: Iterable[Any], name: str) -> list[dict[str, Any]]:
    return [region for region in result if isinstance(region, dict) and region.get("from_name") == name]


def _one_choice(result: list[Any], name: str) -> str:
    chosen: list[Any] = []
    for region in _named(result, name):
        value = region.get("value")
        choices = value.get("choices") if isinstance(value, dict) else None
        if region.get("type") != "choices" or not isinstance(choices, list):
            raise BadAnswer(f"{name} is not a choice")
        chosen += choices
    if len(chosen) != 1:
        raise BadAnswer(f"no {name}" if not chosen else f"more than one {name}")
    if not isinstance(chosen[0], str):
        raise BadAnswer(f"{name} {chosen[0]!r} is not text")
    return chosen[0]


def _confidence(result: list[Any]) -> int:
    """From the five stops of our templates, or from Label Studio's own slider (`Number`), which a team may prefer."""
    numbers = [r.get("value") for r in _named(result, CONFIDENCE) if r.get("type") == "number"]
    if not numbers:
        said: object = _one_choice(result, CONFIDENCE)
        steps: dict[object, int] = {str(step): step for step in CONFIDENCES}
    else:
        said = numbers[0].get("number") if len(numbers) == 1 and isinstance(numbers[0], dict) else numbers
        steps = {step: step for step in CONFIDENCES}
    if isinstance(said, bool | list) or said not in steps:
        raise BadAnswer(f"confidence {said!r} is not a whole number from 1 to 5")
    return steps[said]


def _reason(result: list[Any]) -> str:
    texts: list[str] = []
    for region in _named(result, REASON):
        value = region.get("value")
        text = value.get("text") if isinstance(value, dict) else None
        texts += [text] if isinstance(text, str) else [str(part) for part in text or []]
    return "\n".join(part.strip() for part in texts if part.strip())


def _lead_time(annotation: Mapping[str, Any]) -> float | None:
    lead = annotation.get("lead_time")
    usable = isinstance(lead, int | float) and not isinstance(lead, bool) and 0 <= lead < float("inf")
    return float(lead) if usable else None  # type: ignore[arg-type]


def _watch(result: list[Any]) -> Mapping[str, Any]:
    for region in result:
        meta = region.get("meta") if isinstance(region, dict) else None
        seen = meta.get(WATCH_KEY) if isinstance(meta, dict) else None
        if isinstance(seen, dict):
            return seen
    return {}
