"""People's and programs' annotations as Label Studio keeps them: its own stamps, beside what the browser says.

Honest people watch, think, answer; they have breaks, skip and return, change an answer, watch in a second tab, have
browsers whose clocks drift, and servers whose clock is set. Cheats send answers by a program.
"""

from datetime import UTC, datetime, timedelta

from labeling_config.contract import result_of
from preference.records import Judgment
from qc_reports.annotators.clock import Visit

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
FREEZE_S = 2.0


def judgment_at(name, task, created_s, watch, *, changed_s=None, lead_s=None):
    """An answer to pair p<task>, stored `created_s` seconds after the start."""
    result = result_of("left", 4)
    if watch is not None:
        result[0]["meta"] = {"robopref": watch}
    stamps = [(START + timedelta(seconds=float(s))).isoformat() for s in (created_s, changed_s or created_s)]
    raw = {"id": task, "task": task, "result": result, "lead_time": lead_s, "created_at": stamps[0],
           "updated_at": stamps[1]}  # fmt: skip
    claimed = round(1000 * lead_s) if watch is None else watch["response_ms"]
    return Judgment(f"{name}-{task}", name, f"p{task}", "A", 4, claimed, annotation_id=task, task_id=task,
                    created_at=stamps[0], raw=raw)  # fmt: skip


def watched(seconds, *, seen=True):
    """What the screen's script says of so much watching."""
    ms = round(1000 * seconds)
    return {"response_ms": ms, "active_ms": ms, "left_ms": ms, "right_ms": ms, "seen_left": seen, "seen_right": seen}


def lengths(rng, count=200):
    """Pair → seconds in which its clips move."""
    return {f"p{task}": float(rng.uniform(2, 9)) for task in range(count)}


def honest(rng, moving, *, to_end=True, name="ann"):
    """(judgments, skips) of somebody honest and fast, who answers every pair of `moving`."""
    judgments, skips, again, now, offset = [], [], [], 0.0, 0.0
    clip = max(moving.values()) + FREEZE_S
    setting = rng.random() < 0.1  # the server's clock is set once in a while
    order = list(range(len(moving)))
    while order or again:
        task, before = (order.pop(0), 0.0) if order else again.pop(0)
        if setting and rng.random() < 2 / len(moving):
            offset += float(rng.normal(0, 20))
        shortest = 0.9 * clip if to_end else 0.0
        active = shortest + float(rng.lognormal(0.3, 0.6)) if before == 0 else float(rng.lognormal(0.0, 0.5))
        second_tab = rng.random() < 0.01  # watched while the pair before it was still open
        now += float(0.2 + rng.exponential(0.3)) + (0.0 if second_tab else active)
        now += float(rng.exponential(300)) if rng.random() < 0.05 else 0.0
        if before == 0 and rng.random() < 0.03:
            skips.append(Visit(task, START.timestamp() + now + offset, START.timestamp() + now + offset))
            again.append((task, active))
            continue
        said = (active + before) * float(rng.normal(1, 0.01))
        changed = now + offset
        if rng.random() < 0.03:  # looked at once more, and changed
            more = float(rng.lognormal(1.5, 0.5))
            later = more + float(rng.exponential(60))
            said, changed = said + more, changed + later
        judgments.append(judgment_at(name, task, now + offset, watched(said, seen=to_end), changed_s=changed))
        now = changed - offset
    return judgments, skips


def cheat(rng, moving, *, share=1.0, every_s=0.1, claims_s=9.0, seen=False, record=True, name="eve"):
    """Answers of which a program sent `share`, `every_s` apart; the others took as long as they say."""
    judgments, now = [], 0.0
    for task in range(len(moving)):
        sent = rng.random() < share
        now += every_s if sent else claims_s + 1.0
        watch = watched(claims_s, seen=seen or not sent) if record else None
        judgments.append(judgment_at(name, task, now, watch, lead_s=claims_s))
    return judgments
