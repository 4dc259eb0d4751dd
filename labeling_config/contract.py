"""The template's names and values, in one place: annotation JSON in, `ScreenAnswer` out, and back.

`pair_compare.xml` and `calibration.xml` use exactly these names; a test compares the three. Label Studio enforces
"required" in the browser only and its API stores anything, so every annotation goes through `answer_of`. It is total:
whatever JSON it is given, it returns an answer or raises `BadAnswer`, and never guesses (an unknown label never becomes
a tie).
"""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal
from xml.etree import ElementTree

from preference.errors import UserError
from preference.formats import printable
from preference.records import SETTLED, SKIPPED, Answer, Side

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
# Training projects (calibration.xml) only. The dimension is not shown: it says which pairs are of one kind.
EXPERT_ANSWER, EXPERT_REASONING, DIMENSION = "expert_answer", "expert_reasoning", "dimension"
EXPERT_KEYS = (EXPERT_ANSWER, EXPERT_REASONING)
OTHERS = "What the others said:"  # stands for the expert's answer in adjudication
FEWEST_IN_A_ROW = 3  # right answers about one dimension after which a training asks no more about it, see `in_a_row`
BY_LUCK = 0.1  # most coins that may get there

# Between Label Studio with the plugin and the ML backend.
CONSOLE = "/robopref/console"
"""Where the manager's console is, in Label Studio and in the ML backend."""
SECRET_HEADER = "X-Robopref-Secret"
"""What our webhooks carry; Label Studio gives them no Basic auth."""
CONSOLE_HEADER = "X-Robopref-Console"
"""Carries the console's secret, which no webhook has: it says that the plugin has seen who is signed in."""
MANAGER_HEADER, SESSION_HEADER = "X-Robopref-Manager", "X-Robopref-Session"
"""Who is signed in as a manager (quoted as in an address), and a digest of their session; believed with the secret."""

LONGEST_REASON = 2000  # characters of a reason that are kept
LONGEST_S = (2**31 - 1) / 1000  # as many milliseconds as a database column holds

MISSING_CLIP = (
    "missing clip"  # begins the reason of a skip because a clip could not be shown; the page's script adds it
)
GUIDELINES = "/robopref/guidelines"  # the page that the plugin serves
WATCH_KEY = "robopref"  # result[i]["meta"][WATCH_KEY]: what the plugin's script saw of the watching
# Lines of a project's description, which only a manager can edit: who owns it, which phase it is, and whether an answer
# may be submitted before both clips were watched to their end.
OWNER_LINE, MARK_LINE, WATCH_LINE, FINAL_LINE = "annotator:", "robopref:", "watch:", "answers:"
COMPLETION_LINE = "completion:"  # the code of somebody from outside who has done their part
FORMER_LINE = "former annotator:"  # whose it was; opens nothing
FREELY, FINAL = "freely", "final"
TRAINING, TEST, PRODUCTION = "training", "calibration", "production"  # phases; with a number from the second on
LAST_TURN = 1000

_SAID: dict[Side, str] = {"left": "Left is better", "equal": "Roughly equal", "right": "Right is better"}


class BadAnswer(UserError):
    """An annotation that is not one answer to one pair; `reason` briefly says why not."""

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
        """Active time from the first play to this answer in ms, as the plugin measured it: the page visible, and a clip
        playing or a key or click within the last 30 s. None if it was not measured."""
        found = _amount(self.watch.get("response_ms"), 1000 * LONGEST_S)
        return None if found is None else round(found)


def load_template(name: str) -> str:
    """The labeling config `pair_compare` or `calibration`, ready to be a project's `label_config`."""
    if name not in TEMPLATES:
        raise UserError(f"There is no template {name!r}.", fix=f"Use one of: {', '.join(TEMPLATES)}.")
    return (files("labeling_config") / f"{name}.xml").read_text(encoding="utf-8")


def missing_in(template: str) -> list[str]:
    """Names and values that a project's template lacks; empty if its answers can be read."""
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
    """The template for the expert: the reason is required, because others learn from it."""
    required = 'placeholder="Why? Annotators learn from it." required="true" requiredMessage="Why? Press W to say it."'
    return template.replace('placeholder="Why? (optional)"', required)


def with_guidelines(template: str, address: str) -> str:
    """The template with its guidelines link pointing to `address`; needed on a server without the plugin."""
    return template.replace(GUIDELINES, html.escape(html.escape(address)))


def answer_of(annotation: object) -> ScreenAnswer:
    """Read an annotation as Label Studio's API, export or webhook delivers it.

    Raises:
        BadAnswer: it is not one answer to one pair. Nothing else is raised, whatever `annotation` holds.
    """
    if not isinstance(annotation, Mapping):
        raise BadAnswer("not an annotation")
    which = annotation.get("id")
    if not isinstance(which, int) or abs(which) >= 2**63:
        which = None
    result = annotation.get("result")
    if annotation.get("was_cancelled"):
        why = _reason(result) if isinstance(result, list) else ""
        raise BadAnswer(f"{SKIPPED}: {why}" if why else SKIPPED, annotation_id=which)
    if not isinstance(result, list) or not result:
        raise BadAnswer("empty", annotation_id=which)
    try:
        side = _one_choice(result, PREFERENCE)
        if side not in SIDES:
            raise BadAnswer(f"unknown choice {_shown(side)}")
        confidence = _confidence(result)
        return ScreenAnswer(side, confidence, _reason(result), _lead_time(annotation), _watch(result))
    except BadAnswer as bad:
        raise BadAnswer(bad.reason, annotation_id=which) from None


def is_unseen(annotation: object) -> bool:
    """Whether this is a skip because a clip could not be shown, as the annotator's page says."""
    return _why_not(annotation).startswith(f"{SKIPPED}: {MISSING_CLIP}")


def is_settled(annotation: object) -> bool:
    """Whether this is the plugin's own skip of a training pair that needed no answer any more (`settled_result`)."""
    return _why_not(annotation) == SETTLED


def settled_result() -> list[dict[str, Any]]:
    """The `result` of that skip; an annotator may not send it."""
    return [_region(REASON, "textarea", {"text": [SETTLED.removeprefix(f"{SKIPPED}: ")]})]


def agrees(annotation: object, data: Mapping[str, Any]) -> bool:
    """Whether this answer to a training task is the expert's, who is quoted in the task's data."""
    try:
        return expert_data(answer_of(annotation).side, "")[EXPERT_ANSWER] == data.get(EXPERT_ANSWER)
    except BadAnswer:
        return False


@cache
def in_a_row(pairs: int) -> int:
    """Right answers, one after another, that close the rest of a kind of so many training pairs.

    The fewest, at least three, that one in ten people who flip a coin (left or right) reaches before the last pair:
    4 of 6, 5 of 10, 6 of 17. A kind of up to four pairs is asked to its end.
    """
    return next((n for n in range(FEWEST_IN_A_ROW, pairs) if by_luck(n, pairs - 1) <= BY_LUCK), pairs)


def by_luck(run: int, answers: int) -> float:
    """The chance that a coin shows `run` heads in a row within so many tosses.

    The sequences without such a run are counted by where their last tail is: Feller, An Introduction to Probability
    Theory and Its Applications I, XIII.7.
    """
    without = [1]
    for n in range(1, answers + 1):
        without.append(2**n if n < run else sum(without[n - run : n]))
    return 1.0 - without[answers] / 2**answers


def _why_not(annotation: object) -> str:
    """Why this is no answer; empty if it is one."""
    try:
        answer_of(annotation)
    except BadAnswer as bad:
        return bad.reason
    return ""


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
    """Which trajectory was preferred, given which of the two was shown on the left."""
    if side == "equal":
        return "equal"
    if side not in SIDES or left not in ("A", "B"):
        raise BadAnswer(f"unknown choice {side!r} with {left!r} on the left")
    return "A" if (side == "left") == (left == "A") else "B"


def side_of(preference: Answer, left: Literal["A", "B"]) -> Side:
    """The inverse: the answer on the screen that means `preference`."""
    if preference == "equal":
        return "equal"
    if preference not in ("A", "B") or left not in ("A", "B"):
        raise BadAnswer(f"unknown preference {preference!r} with {left!r} on the left")
    return "left" if preference == left else "right"


def task_data(
    assignment_id: str, video_left: str, video_right: str, *, fps: float, question: str
) -> dict[str, str | float]:
    """The data of one task: everything that an annotator's browser is told."""
    return dict(zip(TASK_KEYS, (assignment_id, video_left, video_right, fps, question), strict=True))


def expert_data(side: Side, reasoning: str, dimension: str = "") -> dict[str, str]:
    """What a training task adds: the expert's answer and reasoning, shown once the annotator has answered, and what the
    pair is about."""
    said = f"The expert: {_SAID[side].lower()}"
    return {EXPERT_ANSWER: said, EXPERT_REASONING: reasoning, DIMENSION: dimension}


def owner_line(*emails: str) -> str:
    """A line of a project's description that gives it to these annotators, on a server with the plugin."""
    return f"{OWNER_LINE} {' '.join(email.strip().lower() for email in emails)}"


def closed_to(description: str, email: str) -> str:
    """The description once this annotator has lost the project; `opened_to` is the inverse."""
    email = email.strip().lower()
    if email not in owners_of(description):
        return description
    lines = []
    for line in description.splitlines():
        owners = owners_of(line)
        others = [owner_line(*sorted(owners - {email}))] if owners - {email} else []
        lines += [*others, f"{FORMER_LINE} {email}"] if email in owners else [line]
    return "\n".join(lines)


def opened_to(description: str, email: str) -> str:
    """The description once a former annotator of the project has it again; others are not let in."""
    email = email.strip().lower()
    former = _lines(description, FORMER_LINE)
    if email not in (words.strip().lower() for words in former) or email in owners_of(description):
        return description
    mine = f"{FORMER_LINE} {email}"
    return "\n".join(owner_line(email) if line.strip().lower() == mine else line for line in description.splitlines())


def completed(description: str, code: str) -> str:
    """The description with this completion code, which the annotator's last page shows."""
    return description if completion_of(description) else f"{description}\n{COMPLETION_LINE} {code}"


def completion_of(description: str | None) -> str:
    """The completion code of a description; empty before its annotator has done their part."""
    return next((words.strip() for words in _lines(description, COMPLETION_LINE)), "")


def mark_line(database: str, phase: str, annotator_id: str) -> str:
    """A line of a project's description by which a later run recognizes it, whatever its title has become."""
    return f"{MARK_LINE} {database} {phase} {annotator_id}"


def watch_line(*, to_end: bool) -> str:
    """A line of a project's description: whether both clips must be watched to their end before an answer counts."""
    return f"{WATCH_LINE} {'to the end' if to_end else FREELY}"


def phase_of(description: str | None) -> str:
    """`training`, `calibration-1`, `training-2`, ..., `production`; empty if the description has no mark."""
    words = next((words.split() for words in _lines(description, MARK_LINE)), [])
    return words[1] if len(words) > 1 else ""


def place_of(phase: str) -> int:
    """A phase's place in an annotator's order: training, first test, second training, second test, and so on; then
    production; an unnamed phase is the last."""
    kind, _, number = phase.partition("-")
    turn = min(int(number), LAST_TURN - 1) if number.isdecimal() else 1
    return {TRAINING: 2 * turn, TEST: 2 * turn + 1, PRODUCTION: 2 * LAST_TURN}.get(kind, 2 * LAST_TURN + 1)


def is_training(phase: str) -> bool:
    """Whether the expert's answer is shown after one's own: `training`, `training-2`, ..."""
    return phase.partition("-")[0] == TRAINING


def watch_to_end(description: str | None) -> bool:
    """Whether both clips must be watched to their end; yes unless a line says `watch: freely`."""
    return FREELY not in [words.strip().lower() for words in _lines(description, WATCH_LINE)]


def final_line() -> str:
    """A line of a project's description: once all its pairs are answered, no answer may be changed (a test)."""
    return f"{FINAL_LINE} {FINAL}"


def is_final(description: str | None) -> bool:
    """Whether answers may not be changed once all pairs are answered."""
    return FINAL in [words.strip().lower() for words in _lines(description, FINAL_LINE)]


def owners_of(description: str | None) -> frozenset[str]:
    """The annotators, by e-mail address, who own this project."""
    owned = _lines(description, OWNER_LINE)
    return frozenset(email.lower() for names in owned for email in names.replace(",", " ").split())


def _lines(description: str | None, begin: str) -> list[str]:
    """The rest of each line that starts with `begin`."""
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
        raise BadAnswer(f"{name} {_shown(chosen[0])} is not text")
    return chosen[0]


def _confidence(result: list[Any]) -> int:
    """From the five buttons of our templates, or from Label Studio's slider (`Number`), which a team may prefer."""
    numbers = [r.get("value") for r in _named(result, CONFIDENCE) if r.get("type") == "number"]
    if not numbers:
        said: object = _one_choice(result, CONFIDENCE)
        steps: dict[object, int] = {str(step): step for step in CONFIDENCES}
    else:
        said = numbers[0].get("number") if len(numbers) == 1 and isinstance(numbers[0], dict) else numbers
        steps = {step: step for step in CONFIDENCES}
    if isinstance(said, bool) or not isinstance(said, str | int | float) or said not in steps:
        raise BadAnswer(f"confidence {_shown(said)} is not a whole number from 1 to 5")
    return steps[said]


def _reason(result: list[Any]) -> str:
    """What was written, as printable text. Anything that is not text is left out: a reason never costs an answer."""
    texts: list[str] = []
    for region in _named(result, REASON):
        value = region.get("value")
        text = value.get("text") if isinstance(value, dict) else None
        texts += [part for part in (text if isinstance(text, list) else [text]) if isinstance(part, str)]
    return storable("\n".join(part.strip() for part in texts if part.strip()))


def storable(text: str) -> str:
    """Printable, and at most `LONGEST_REASON` characters of it."""
    return printable(text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + " …")


def _shown(value: object) -> str:
    """A value that was not expected, short enough for a sentence."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, nested too deeply
        return f"a {type(value).__name__}"
    return printable(text if len(text) <= 60 else text[:60] + " …")


def _lead_time(annotation: Mapping[str, Any]) -> float | None:
    return _amount(annotation.get("lead_time"), LONGEST_S)


def _amount(found: object, most: float) -> float | None:
    """A number from 0 on, cut at `most`; None for anything else."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(min(found, most)) if found >= 0 and found != float("inf") else None


def _watch(result: list[Any]) -> Mapping[str, Any]:
    for region in result:
        meta = region.get("meta") if isinstance(region, dict) else None
        seen = meta.get(WATCH_KEY) if isinstance(meta, dict) else None
        if isinstance(seen, dict):
            return seen
    return {}
