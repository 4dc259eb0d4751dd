"""A curious annotator with a program: everything that an account can read of its tasks, and a classifier on it.

What is read of a task becomes columns: each number and time as it is and above the account's lowest, each text by its
length and its words, for each value how often it came before in the same account, and how many values are shared with
the task before that is most alike. A random forest learns from one account and guesses the other's; how well, is the
area under the ROC curve (0.5 = chance), with a bootstrap interval over the tasks guessed. Not cross-validated: every
two tasks would count twice, each once as the one guessed, and on these tasks an interval over all was too narrow by
half. What means another thing in each account is not found.
"""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from studio_maker import answer, serve

CHANCE = 0.5
DRAWS = 2000
OF_THE_SERVER = {"date", "set-cookie"}
"""Headers that say when and to whom something was sent, whatever it is."""


def everything_readable(ws, session, project_id, rng):
    """Walk through a project as the label stream does; task id → {where: value} of all that was sent, as served."""
    url, seen = ws.config.label_studio.url, {}
    while task := serve(ws, session, project_id):
        key = task["id"]
        if key in seen:
            break
        found = dict(_flat("next", task))
        for name, address in {
            "task": f"/api/tasks/{key}/",
            "state": f"/robopref/state?project={project_id}&task={key}",
            "left": task["data"]["video_left"],
            "right": task["data"]["video_right"],
        }.items():
            found |= _told(session.get(url + address), name)
        own = answer(ws, session, key, side=str(rng.choice(["left", "right"])))
        found |= _told(session.get(f"{url}/api/annotations/{own}/"), "answer")
        seen[key] = found
    return seen


def _told(reply, name):
    """All that a reply says: its status, length, headers and JSON."""
    found = {f"{name} status": reply.status_code, f"{name} bytes": len(reply.content)}
    found |= {f"{name} {k}": v for k, v in reply.headers.items() if k.lower() not in OF_THE_SERVER}
    return found | (dict(_flat(name, reply.json())) if "json" in reply.headers["Content-Type"] else {})


def _flat(where, value):
    """Every leaf of a JSON value, with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{where}.{key}", item)
    elif isinstance(value, list):
        yield f"{where} length", len(value)
        for index, item in enumerate(value):
            yield from _flat(f"{where}.{index}", item)
    else:
        yield where, value


def columns(accounts):
    """(N, C) float32: the tasks of all accounts, each a dictionary as `everything_readable` gives, in order."""
    rows = [row for account in accounts for row in _rows(account)]
    known = Counter(name for row in rows for name in row)
    names = sorted(name for name, count in known.items() if count > 1)
    table = np.array([[row.get(name, -1.0) for name in names] for row in rows], dtype=np.float32)
    return table[:, table.min(axis=0) < table.max(axis=0)]


def _rows(account):
    """One dictionary of numbers for each task of an account."""
    before, rows, earlier = Counter(), [], []
    common = Counter(text for found in account.values() for text in {str(value) for value in found.values()})
    usual = {text for text, count in common.items() if count > len(account) / 2}
    for found in account.values():
        row = {}
        for where, value in found.items():
            text = str(value)
            row[f"{where} again"] = before[text]
            row[f"{where} number"] = _number(value)
            row[f"{where} letters"] = len(text)
            row |= {f"{where} has {word}": 1.0 for word in re.split(r"[\W_]+", text) if 2 < len(word) < 20}
        values = {str(value) for value in found.values()} - usual
        row["values that came before"] = sum(before[text] > 0 for text in values)
        row["values shared with the most alike before"] = max((len(values & other) for other in earlier), default=0)
        before.update(values)
        earlier.append(values)
        rows.append(row)
    for name in {name for row in rows for name in row if name.endswith(" number")}:
        having = [row for row in rows if name in row]
        lowest = min(row[name] for row in having)
        for row in having:
            row[f"{name} above the lowest"] = row[name] - lowest
    return rows


def _number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        return datetime.fromisoformat(str(value)).timestamp() % 1e6
    except ValueError:
        return -1.0


@dataclass(frozen=True)
class Guess:
    area: float
    draws: np.ndarray
    """(DRAWS,) the area in resamples of the tasks."""

    def interval(self, level):
        """(low, high)."""
        return np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2])


def with_history(x, labels, accounts, length=3):
    """`x` and what the labels of the account's tasks before were: what somebody knows who judged those well."""
    before = np.full((len(labels), length), -1.0, dtype=np.float32)
    start = 0
    for account in accounts:
        for back in range(1, length + 1):
            before[start + back : start + len(account), back - 1] = labels[start : start + len(account) - back]
        start += len(account)
    return np.hstack([x, before])


def attack(x, labels, train):
    """How well a random forest guesses the `labels` of those rows that it was not trained on.

    Args:
        x: (N, C).
        labels: (N,) bool.
        train: (N,) bool.
    """
    from sklearn.ensemble import RandomForestClassifier

    labels, train = np.asarray(labels), np.asarray(train)
    if any(part.all() or not part.any() for part in (labels[train], labels[~train])):
        raise ValueError("there is nothing to tell apart")
    # Half of the columns at each split: with few, as is usual, one that tells is lost among hundreds that do not.
    forest = RandomForestClassifier(100, max_features=0.5, min_samples_leaf=5, random_state=0, class_weight="balanced")
    guess, labels = forest.fit(x[train], labels[train]).predict_proba(x[~train])[:, 1], labels[~train]
    rng, areas = np.random.default_rng(0), []
    while len(areas) < DRAWS:
        drawn = rng.integers(len(labels), size=len(labels))
        if 0 < labels[drawn].sum() < len(labels):
            areas.append(_area(labels[drawn], guess[drawn]))
    return Guess(_area(labels, guess), np.array(areas))


def _area(labels, guess):
    """Under the ROC curve, by Mann and Whitney's ranks."""
    from scipy.stats import rankdata

    n = int(labels.sum())
    return float((rankdata(guess)[labels].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


def matched(positions, labels):
    """Indices: each marked task beside the nearest unmarked one of its account, so that the place in the queue, which
    says how likely a repeat is, says nothing.

    Args:
        positions: (account, place) of each task.
        labels: (N,) bool.
    """
    free = {i for i, label in enumerate(labels) if not label}
    chosen = []
    for i in np.flatnonzero(labels):
        account, place = positions[i]
        near = [j for j in free if positions[j][0] == account]
        other = min(near, key=lambda j: (abs(positions[j][1] - place), j % 2))
        free.remove(other)
        chosen += [int(i), other]
    return chosen
