"""Questions beside the comparison, each by a setting and none by default: the template's part, and what was said.

Settings go in, a template with these controls comes out; an annotation's result goes in, a plain dictionary comes out,
about A and B as everywhere. Reading is total: whatever JSON it is given, what is not an answer is left out, for an
optional question never costs a judgment. Everything is bounded.

    {"outcome": {"A": "success", "B": "failure"},          one of OUTCOMES for each clip
     "why": ["grasp", "efficiency"],                       of WHY, in its order
     "where": [{"of": "B", "at": 3.2, "what": "slip"},     seconds from the clip's start, and one of WHAT or ""
               {"of": "A", "at": None, "what": ""}],       nothing went wrong anywhere in A
     "part": [{"better": "A", "from": 1.2, "to": 3.4}],    seconds
     "decision": "A", "cause": "slip"}                     of an adjudicator: A, B, equal or none; one of CAUSES or ""

`where` and `part` are text, one mark a line (`left 3.20 slip`, `right nowhere`, `left 1.20 3.40`): the plugin's script
writes it, and without the plugin it can be typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

Outcome = Literal["success", "partial", "failure"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
WHY = ("approach", "grasp", "transport", "placement", "recovery", "efficiency")
WHAT = ("missed grasp", "slip", "collision", "hesitation", "wrong object")
NOWHERE = "nowhere"

CAUSES = ("unclear task", "gap in the guidelines", "slip", "bad clip")
"""Of a dispute, in adjudication."""
DECISIONS = {"left": "Left", "equal": "Equal", "right": "Right", "none": "No label"}

# Controls (from_name); all of them point at the left clip, as the template's own do.
OUTCOME_OF = {"left": "outcome_left", "right": "outcome_right"}
WHY_NAME, WHERE_NAME, PART_NAME = "why", "where", "part"
DECISION_NAME, CAUSE_NAME = "decision", "cause"
MOST_MARKS = 20
"""Of one kind, in one answer."""
LONGEST_TEXT = 2_000
PAIR_PX, TRAINING_PX, ROW_PX = 336, 416, 46
"""Of the window's height: all but the clips in each template, and a row of questions."""
_TIME = r"(\d{1,4}(?:\.\d{1,3})?)"
_NOTCH = re.compile(rf"(left|right) (?:{NOWHERE}|{_TIME}(?: ({'|'.join(WHAT)}))?)")
_SPAN = re.compile(rf"(left|right) {_TIME} {_TIME}")

Side = Literal["left", "right"]
Letter = Literal["A", "B"]


def with_questions(template: str, *, outcome: bool, where: bool, why: bool, part: bool) -> str:
    """The template with the controls of these questions under the answer; the template itself where there is none."""
    parts = [
        *([_outcome_xml("left", "Left clip [Q]"), _outcome_xml("right", "Right clip [E]")] if outcome else []),
        *([_choices(WHY_NAME, "multiple", WHY, "Why", hotkeys="456789")] if why else []),
        *([_text(WHERE_NAME, "Where it went wrong, such as: left 3.2 slip")] if where else []),
        *([_text(PART_NAME, "Better in this part, such as: left 1.2 3.4")] if part else []),
    ]
    if not parts:
        return template
    body, end = template.rstrip().removesuffix("</View>"), "</View>\n"
    style = _style(PAIR_PX + ROW_PX * min(3, outcome + where + why + part))
    return f'{body}  <View className="rp-more">\n    {style}\n' + "".join(parts) + f"  </View>\n{end}"


def for_adjudication(template: str) -> str:
    """The training template: the others' answers stand for the expert's, with the decision and its cause below."""
    decision = _choices(DECISION_NAME, "single-radio", tuple(DECISIONS), "Decision", "4567", tuple(DECISIONS.values()))
    decision = decision.replace(' choice="', ' required="true" requiredMessage="Decide: press 4, 5, 6 or 7." choice="')
    asked = decision + _choices(CAUSE_NAME, "single-radio", CAUSES, "Because of", "yuio")
    shown = '<Header value="$expert_reasoning" size="5"/>\n      </View>\n'
    when = 'visibleWhen="choice-selected" whenTagName="confidence"'
    more = f'      <View className="rp-more" {when}>{_style(TRAINING_PX + 2 * ROW_PX)}\n{asked}      </View>\n'
    return template.replace(shown, shown + more)


def answers_in(result: object, left: Letter) -> dict[str, Any]:
    """What was said beside the comparison; only questions that were answered.

    Args:
        result: An annotation's regions, as they came.
        left: Which trajectory was on the left.
    """
    regions = [region for region in result if isinstance(region, Mapping)] if isinstance(result, list) else []
    letter: dict[str, Letter] = {"left": left, "right": "B" if left == "A" else "A"}
    said: dict[str, Any] = {}
    outcome = {letter[side]: found[0] for side, name in OUTCOME_OF.items()
               if len(found := _chosen(regions, name, OUTCOMES)) == 1}  # fmt: skip
    why = _chosen(regions, WHY_NAME, WHY)
    where = [_notch(found, letter) for found in _lines(regions, WHERE_NAME, _NOTCH)]
    part = [_span(found, letter) for found in _lines(regions, PART_NAME, _SPAN)]
    chosen = _chosen(regions, DECISION_NAME, tuple(DECISIONS))
    decision = [("none" if one == "none" else "equal" if one == "equal" else letter[one]) for one in chosen]
    cause = _chosen(regions, CAUSE_NAME, CAUSES)
    if len(decision) == 1:
        said |= {"decision": decision[0], "cause": cause[0] if len(cause) == 1 else ""}
    for name, value in (("outcome", outcome), ("why", why), ("where", where), ("part", [p for p in part if p])):
        if value:
            said[name] = value
    return said


def _notch(found: re.Match[str], letter: Mapping[str, Letter]) -> dict[str, Any]:
    return {"of": letter[found[1]], "at": float(found[2]) if found[2] else None, "what": found[3] or ""}


def _span(found: re.Match[str], letter: Mapping[str, Letter]) -> dict[str, Any]:
    begin, end = sorted((float(found[2]), float(found[3])))
    return {"better": letter[found[1]], "from": begin, "to": end} if begin < end else {}


def _chosen(regions: list[Mapping[str, Any]], name: str, known: tuple[str, ...]) -> list[str]:
    """The known choices of a control, in the order of `known`."""
    said = [choice for value in _values(regions, name, "choices") if isinstance(value, list) for choice in value[:50]]
    return [choice for choice in known if choice in said]


def _lines(regions: list[Mapping[str, Any]], name: str, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """The lines of a text control that are marks; at most `MOST_MARKS`, each once."""
    texts: list[str] = []
    for value in _values(regions, name, "text"):
        texts += [part[:LONGEST_TEXT] for part in (value[:50] if isinstance(value, list) else [value])
                  if isinstance(part, str)]  # fmt: skip
    lines = dict.fromkeys(" ".join(line.split()).lower() for text in texts for line in re.split(r"[\n;]", text))
    return [found for line in lines if (found := pattern.fullmatch(line))][:MOST_MARKS]


def _values(regions: list[Mapping[str, Any]], name: str, key: str) -> Iterator[Any]:
    for region in regions:
        value = region.get("value")
        if region.get("from_name") == name and isinstance(value, Mapping):
            yield value.get(key)


def _outcome_xml(side: Side, words: str) -> str:
    return _choices(OUTCOME_OF[side], "single-radio", OUTCOMES, words)


def _choices(
    name: str, kind: str, values: tuple[str, ...], words: str, hotkeys: str = "", labels: tuple[str, ...] = ()
) -> str:
    keys = [f' hotkey="{key}"' for key in hotkeys] or [""] * len(values)
    shown = labels or tuple(value.capitalize() for value in values)
    options = "".join(
        f'<Choice value="{value}" html="{text}"{key}/>' for value, text, key in zip(values, shown, keys, strict=True)
    )
    return (
        f'    <View className="rp-ask rp-ask-{name}"><Header value="{words}" size="5"/>'
        f'<Choices name="{name}" toName="left" choice="{kind}" layout="inline">{options}</Choices></View>\n'
    )


def _text(name: str, words: str) -> str:
    return (
        f'    <View className="rp-ask rp-ask-{name}">'
        f'<TextArea name="{name}" toName="left" placeholder="{words}" maxSubmissions="1" rows="1" editable="true"/>'
        "</View>\n"
    )


def _style(taken: int) -> str:
    """How the questions look; `taken` pixels of the window's height are not the clips'."""
    return _STYLE.replace("TAKEN", f"{taken}px")


_STYLE = """<Style>
    .rp { --rp-clip: clamp(200px, calc(100vh - TAKEN), 480px) !important; }
    .rp-more { display: flex; flex-wrap: wrap; gap: 8px 22px; align-items: center; min-height: 40px; margin: 0 0 12px; }
    .rp-ask { display: flex; align-items: center; gap: 8px; }
    .rp-ask h3, .rp-ask h4, .rp-ask h5 { font-size: 13px !important; font-weight: 500; color: var(--rp-quiet); }
    .rp-ask .lsf-choices { display: flex !important; flex-wrap: wrap; gap: 6px; margin: 0; }
    .rp-ask .lsf-choice, .rp-ask .lsf-choice__item { margin: 0; }
    .rp-ask .ant-radio-wrapper, .rp-ask .ant-checkbox-wrapper { margin: 0 !important; padding: 4px 10px;
        border: 1px solid var(--rp-line); border-radius: 14px; background: var(--rp-soft);
        color: var(--rp-text); font-size: 13px; }
    .rp-ask .ant-radio-wrapper-checked, .rp-ask .ant-checkbox-wrapper-checked { background: #4c5fa9; color: #fff;
        border-color: #4c5fa9; }
    .rp-ask .ant-checkbox { position: absolute; opacity: 0; pointer-events: none; }
    .rp-ask .ant-checkbox-wrapper:focus-within { outline: 2px solid var(--rp-accent); outline-offset: 2px; }
    .rp-ask .ant-checkbox ~ span, .rp-ask .ant-radio ~ span { padding: 0; }
    .rp-ask .ant-checkbox-wrapper-checked *, .rp-ask .ant-radio-wrapper-checked * { color: #fff !important; }
    .rp-ask-outcome_left .lsf-hint, .rp-ask-outcome_right .lsf-hint { display: none; } /* Label Studio's own keys */
    </Style>"""
