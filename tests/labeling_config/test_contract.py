"""The templates and the contract say the same, and an annotation is read as what it is or refused."""

import math
import random
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from labeling_config import contract, guidelines
from labeling_config.contract import BadAnswer, answer_of, result_of
from labeling_config.plugin.pace import BREAK_S, FEWEST_GAPS, pace_of
from preference.errors import UserError

SIDES = st.sampled_from(contract.SIDES)
CONFIDENCES = st.sampled_from(contract.CONFIDENCES)


def annotation(result, **fields):
    return {"id": 7, "was_cancelled": False, "lead_time": 4.25, "result": result, **fields}


def tree(name):
    return ElementTree.fromstring(contract.load_template(name))


@pytest.mark.parametrize("name", contract.TEMPLATES)
def test_template_has_exactly_the_contracts_controls_and_values(name):
    choices = {tag.get("name"): [choice.get("value") for choice in tag] for tag in tree(name).iter("Choices")}
    assert choices == {
        contract.PREFERENCE: list(contract.SIDES),
        contract.CONFIDENCE: [str(step) for step in contract.CONFIDENCES],
    }
    assert [tag.get("name") for tag in tree(name).iter("TextArea")] == [contract.REASON]
    assert [tag.get("name") for tag in tree(name).iter("Video")] == [contract.LEFT, contract.RIGHT]
    assert {tag.get("toName") for tag in tree(name).iter() if tag.get("toName")} == {contract.TO_NAME}


@pytest.mark.parametrize("name", contract.TEMPLATES)
def test_template_asks_the_task_for_exactly_the_contracts_keys(name):
    asked = set(re.findall(r'"\$(\w+)"', contract.load_template(name)))
    given_keys = {*contract.TASK_KEYS, *(contract.EXPERT_KEYS if name == "calibration" else ())}
    assert asked == given_keys - {contract.ASSIGNMENT_ID}  # for us, not for the eye


@pytest.mark.parametrize("name", contract.TEMPLATES)
def test_label_studios_own_parser_accepts_the_template_and_our_answers(name):
    interface = LabelInterface(contract.load_template(name))
    interface.validate()
    assert interface.validate_annotation({"result": result_of("right", 5, "smoother")})
    bogus = result_of("right", 5)
    bogus[1]["value"]["choices"] = ["6"]
    assert not interface.validate_annotation({"result": bogus})


def test_calibration_is_the_pair_template_and_the_experts_view():
    pair, calibration = tree("pair_compare"), tree("calibration")
    expert = calibration.find("View[@className='rp-expert']")
    calibration.remove(expert)
    for one, other in zip(pair, calibration, strict=True):
        if one.tag == "View":
            assert ElementTree.tostring(one).strip() == ElementTree.tostring(other).strip()
    hidden_until = {
        view.get("whenTagName") for view in expert.iter("View") if view.get("visibleWhen") == "choice-selected"
    }
    assert hidden_until == {contract.PREFERENCE, contract.CONFIDENCE}


def test_the_expert_gets_the_pair_template_with_a_reason_that_must_be_given():
    template = contract.explained(contract.load_template("pair_compare"))
    LabelInterface(template).validate()
    asked, given_to_all = (ElementTree.fromstring(t) for t in (template, contract.load_template("pair_compare")))
    changed = [
        one.tag for one, other in zip(asked.iter(), given_to_all.iter(), strict=True) if one.attrib != other.attrib
    ]
    assert changed == ["TextArea"]
    assert asked.find(".//TextArea").get("required") == "true"


def test_no_selector_needs_a_character_that_label_studio_escapes():
    """It writes `>` in a Style as an entity, and the rule is lost without a word."""
    for name in contract.TEMPLATES:
        assert not re.search("[<>&]", tree(name).find("Style").text)


def test_hotkeys_do_not_clash():
    keys = [tag.get("hotkey") for tag in tree("pair_compare").iter() if tag.get("hotkey")]
    assert len(keys) == len(set(keys)) == 8


@given(side=SIDES, confidence=CONFIDENCES, reason=st.text().map(str.strip))
def test_what_is_answered_is_what_is_read(side, confidence, reason):
    answer = answer_of(annotation(result_of(side, confidence, reason)))
    assert (answer.side, answer.confidence, answer.reason, answer.lead_time_s) == (
        side,
        confidence,
        contract.storable(reason),
        4.25,
    )


def test_the_screens_own_json_is_read():
    """Recorded from the browser."""
    seen = [
        {"value": {"choices": ["left"]}, "id": "sk6GpClWex", "from_name": "preference", "to_name": "left",
         "type": "choices", "origin": "manual", "meta": {"robopref": {"watched_s": 6.1}}},
        {"value": {"choices": ["4"]}, "id": "zXp_BARN3T", "from_name": "confidence", "to_name": "left",
         "type": "choices", "origin": "manual"},
        {"value": {"text": ["grasp 123"]}, "id": "cph9r7WcD6", "from_name": "reason", "to_name": "left",
         "type": "textarea", "origin": "manual"},
    ]  # fmt: skip
    assert answer_of(annotation(seen)) == contract.ScreenAnswer("left", 4, "grasp 123", 4.25, {"watched_s": 6.1})
    assert {key for region in result_of("left", 4, "x") for key in region} == {key for r in seen for key in r} - {
        "meta"
    }


def changed(index, **value):
    result = result_of("right", 2, "why")
    result[index]["value"] = value
    return result


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (annotation(result_of("left", 3), was_cancelled=True), "skipped"),
        (annotation([]), "empty"),
        (annotation(None), "empty"),
        (annotation(changed(0, choices=["both"])), "unknown choice"),
        (annotation(changed(0, choices=["left", "right"])), "more than one preference"),
        (annotation([*result_of("left", 3), *result_of("right", 3)]), "more than one preference"),
        (annotation(result_of("left", 3)[1:]), "no preference"),
        (annotation(changed(0, choices=[])), "no preference"),
        (annotation(changed(0, text=["left"])), "preference is not a choice"),
        (annotation(result_of("left", 3)[:1]), "no confidence"),
        (annotation(changed(1, choices=["6"])), "confidence '6'"),
        (annotation(changed(1, choices=["2.5"])), "confidence '2.5'"),
        (annotation(changed(1, choices=[3])), "not text"),
        (annotation(changed(1, number=3)), "confidence is not a choice"),
    ],
)
def test_anything_else_is_refused_with_its_reason(broken, reason):
    with pytest.raises(BadAnswer, match="Annotation 7") as refusal:
        answer_of(broken)
    assert reason in refusal.value.reason
    assert isinstance(refusal.value, UserError)


@pytest.mark.parametrize("lead", [None, "4", True, -1, math.inf, math.nan])
def test_a_useless_lead_time_is_no_lead_time(lead):
    assert answer_of(annotation(result_of("equal", 1), lead_time=lead)).lead_time_s is None


@pytest.mark.parametrize("wrong", [0, 6, 2.5, True, "3", None])
def test_a_wrong_confidence_cannot_be_sent(wrong):
    with pytest.raises(BadAnswer):
        result_of("left", wrong)


@given(side=SIDES, left=st.sampled_from(["A", "B"]))
def test_sides_and_preferences_map_both_ways(side, left):
    assert contract.side_of(contract.preference_of(side, left), left) == side


def test_swapping_the_sides_swaps_the_answer():
    assert contract.preference_of("left", "A") == contract.preference_of("right", "B") == "A"
    assert contract.preference_of("right", "A") == contract.preference_of("left", "B") == "B"
    assert contract.preference_of("equal", "A") == contract.preference_of("equal", "B") == "equal"
    with pytest.raises(BadAnswer):
        contract.preference_of("left", "C")
    with pytest.raises(BadAnswer):
        contract.side_of("tie", "A")


def test_owners_are_read_from_whole_lines_only():
    text = f"Batch 3\n{contract.owner_line('Alice@Example.com', 'bob@example.com')}\nnot annotator: eve@example.com"
    assert contract.owners_of(text) == {"alice@example.com", "bob@example.com"}
    assert contract.owners_of("annotator:") == contract.owners_of(None) == frozenset()


def test_the_lines_of_a_description_say_phase_and_watching_and_nothing_else_does():
    text = f"A title\n{contract.mark_line('0123', 'calibration-1', 'ann')}\n{contract.watch_line(to_end=False)}"
    assert contract.phase_of(text) == "calibration-1"
    assert contract.phase_of("see robopref: 0123 production ann") == contract.phase_of(None) == ""
    assert contract.watch_to_end(text) is False
    assert contract.watch_to_end(contract.watch_line(to_end=True)) is contract.watch_to_end(None) is True
    order = ["training", "calibration-1", "training-2", "calibration-2", "calibration-3", "production", "something new"]
    places = [contract.place_of(phase) for phase in order]
    assert places == sorted(set(places))
    assert [contract.is_training(phase) for phase in order] == [True, False, True, False, False, False, False]


def test_a_team_may_use_label_studios_own_slider_for_confidence():
    slider = {"from_name": "confidence", "to_name": "left", "type": "number", "value": {"number": 4}}
    assert answer_of(annotation([result_of("left", 1)[0], slider])).confidence == 4
    for wrong in (0, 2.5, True, None, "4"):
        with pytest.raises(BadAnswer, match="confidence"):
            answer_of(annotation([result_of("left", 1)[0], slider | {"value": {"number": wrong}}]))


def test_the_reason_for_skipping_is_kept():
    why = [{"from_name": "reason", "to_name": "left", "type": "textarea", "value": {"text": ["missing clip: left"]}}]
    with pytest.raises(BadAnswer) as refused:
        answer_of(annotation(why, was_cancelled=True))
    assert refused.value.reason == "skipped: missing clip: left"
    assert contract.is_unseen({"result": why, "was_cancelled": True})
    assert not contract.is_unseen({"result": why, "was_cancelled": False})
    assert not contract.is_unseen({"result": [], "was_cancelled": True})


def test_without_the_plugin_the_guidelines_may_be_anywhere():
    address = "https://example.org/guide?a=1&b=<2>"
    template = contract.with_guidelines(contract.load_template("pair_compare"), address)
    assert contract.GUIDELINES not in template
    assert ElementTree.fromstring(template) is not None
    assert LabelInterface(template)


@given(st.lists(st.floats(1, 10_000), min_size=1, max_size=30))
def test_pace_is_of_work_and_not_of_breaks(gaps):
    start = datetime(2026, 1, 5, 9, tzinfo=UTC)
    times = [start + timedelta(seconds=sum(gaps[:n])) for n in range(len(gaps) + 1)]
    working = [gap for gap in gaps if gap <= BREAK_S]
    found = pace_of(times[::-1])
    if len(working) < FEWEST_GAPS:
        assert found is None
    else:
        assert found == pytest.approx(3600 * len(working) / sum(working), rel=1e-3)


def test_an_unknown_template_is_named():
    with pytest.raises(UserError, match="no template 'pairs'"):
        contract.load_template("pairs")


def test_the_guidelines_become_html_without_leftovers():
    html = guidelines.instructions()
    assert html.count("<h2>") >= 5
    assert html.count("<table>") == 2
    assert not re.search(r"\*\*|^#|\|", html, re.MULTILINE)
    assert "<img" not in html
    assert guidelines.page().count("<img") == 4


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text()
    | st.sampled_from(["preference", "confidence", "reason", "choices", "number", "left", "\ud800", "\x1b[2J", "1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["choices", "text", "number", "meta", "robopref"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
REGIONS = st.fixed_dictionaries(
    {},
    optional={
        "from_name": st.sampled_from([contract.PREFERENCE, contract.CONFIDENCE, contract.REASON]) | JSON,
        "type": st.sampled_from(["choices", "number", "textarea"]) | JSON,
        "value": st.fixed_dictionaries({}, optional={"choices": JSON, "text": JSON, "number": JSON}) | JSON,
        "meta": st.fixed_dictionaries({}, optional={"robopref": JSON}) | JSON,
    },
)
ANNOTATIONS = (
    st.fixed_dictionaries(
        {},
        optional={
            "id": JSON,
            "was_cancelled": JSON,
            "lead_time": JSON,
            "result": st.lists(REGIONS | JSON, max_size=4) | JSON,
        },
    )
    | JSON
)


@settings(max_examples=500, deadline=None)
@given(ANNOTATIONS)
def test_any_json_is_an_answer_or_a_refusal_that_can_be_printed_and_stored(found):
    try:
        answer = answer_of(found)
    except BadAnswer as bad:
        str(bad).encode()
        assert "\x1b" not in str(bad) and "\x00" not in bad.reason and len(bad.reason) < contract.LONGEST_REASON + 100
    else:
        assert answer.side in contract.SIDES and answer.confidence in contract.CONFIDENCES
        assert answer.response_ms is None or 0 <= answer.response_ms <= 1000 * contract.LONGEST_S
        assert "\x1b" not in answer.reason and len(answer.reason.encode()) <= 4 * contract.LONGEST_REASON + 10


@pytest.mark.parametrize("text", [5, True, {"a": 1}, [["x"]], [None, 3]])
def test_a_reason_that_is_not_text_costs_nobody_their_answer(text):
    result = [*result_of("left", 4), {"from_name": "reason", "type": "textarea", "value": {"text": text}}]
    assert answer_of(annotation(result)).side == "left" and answer_of(annotation(result)).reason == ""
    with pytest.raises(BadAnswer, match="skipped"):
        answer_of(annotation(result, was_cancelled=True))


@pytest.mark.parametrize("number", [{}, [], None, True, 10**400, float("nan"), 2.5, "3"])
def test_a_confidence_that_is_no_number_from_1_to_5_is_refused(number):
    result = [result_of("left", 4)[0], {"from_name": "confidence", "type": "number", "value": {"number": number}}]
    with pytest.raises(BadAnswer, match="whole number from 1 to 5"):
        answer_of(annotation(result))


def test_a_reason_is_kept_up_to_its_limit_and_without_what_a_terminal_would_obey():
    long = annotation(result_of("left", 4, "x" * 2_000_000))
    assert len(answer_of(long).reason) <= contract.LONGEST_REASON + 2
    assert answer_of(annotation(result_of("left", 4, "a\x1b[2Jb\x00\ud800\nc"))).reason == "a�[2Jb��\nc"


def test_a_project_is_closed_to_one_annotator_and_opened_again_and_nothing_else_changes():
    text = "Title\nannotator: Alice@example.com\nour note\nrobopref: x production alice\n"
    closed = contract.closed_to(text, "alice@example.com")
    assert contract.owners_of(closed) == frozenset()
    assert (contract.phase_of(closed), "our note" in closed) == ("production", True)
    assert contract.closed_to(closed, "alice@example.com") == closed
    assert contract.owners_of(contract.opened_to(closed, "ALICE@example.com")) == {"alice@example.com"}
    assert contract.opened_to(closed, "bob@example.com") == closed
    shared = contract.closed_to("annotator: alice@example.com, bob@example.com", "alice@example.com")
    assert contract.owners_of(shared) == {"bob@example.com"}
    both = {"alice@example.com", "bob@example.com"}
    assert contract.owners_of(contract.opened_to(shared, "alice@example.com")) == both
    assert contract.opened_to(text, "alice@example.com") == text


@given(side=SIDES, expert=SIDES, confidence=CONFIDENCES)
def test_an_answer_agrees_with_the_expert_who_is_quoted_in_the_training_task(side, expert, confidence):
    data = contract.expert_data(expert, "It let go.", "grasp")
    assert contract.agrees(annotation(result_of(side, confidence)), data) == (side == expert)
    assert not contract.agrees(annotation([]), data) and not contract.agrees(annotation(result_of(side, 3)), {})


def test_a_pair_that_was_closed_unasked_is_told_from_other_skips():
    assert contract.is_settled({"result": contract.settled_result(), "was_cancelled": True})
    for result in ([], result_of("left", 3, "right three times in a row"), contract.settled_result()):
        assert not contract.is_settled({"result": result, "was_cancelled": False})
    assert not contract.is_settled({"result": [], "was_cancelled": True})


def test_a_coin_closes_a_kind_of_training_pairs_in_one_training_of_ten_at_most():
    assert [contract.in_a_row(n) for n in (1, 3, 4, 6, 10, 17, 30)] == [1, 3, 4, 4, 5, 6, 7]
    rng = random.Random(0)
    for pairs in (6, 10, 17, 30):
        run, closed = contract.in_a_row(pairs), 0
        for _ in range(4000):
            tosses = "".join(rng.choice("01") for _ in range(pairs - 1))
            closed += "1" * run in tosses
        assert closed / 4000 <= contract.BY_LUCK + 0.02
        assert closed / 4000 == pytest.approx(contract.by_luck(run, pairs - 1), abs=0.02)
    assert contract.by_luck(3, 16) == pytest.approx(0.702, abs=0.001), "three of 17 were luck in seven trainings of ten"
