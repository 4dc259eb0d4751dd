"""One trial: a task and a seed in, for each arm the row in which each of 50 held-out starts arrived.

An arm is a rule that gives every episode a weight; pool, starts, network and number of steps are the same for all.
What is done is kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sample_pool.rollout import ROWS, make_environment, roll_out
from sample_pool.sources import shaky

from policies.asking import ANSWERS, PEERS, TEACHER, Asked, ask_more, asked_of, peer_rewards
from policies.choosing import SHARE, best, by_itself, soft
from policies.cloning import BATCH, HIDDEN, STARTS, STEPS, Policy, arrivals, clone, drive
from policies.pool import SOURCES, Pool, gathered, pool_of
from policies.progress import FORMS, step_weights
from policies.seeing import SEEN_STARTS, Sight, arrivals_seeing, clone_seeing

SHIFT = 10_000
"""Added to a seed for the starts of the test, so that none is one of the pool's."""
ROLLOUTS, MORE = 40, 50
"""Of the new policy, for one loop of improvement; answers about the larger pool: a round at the defaults."""
OURS, CHOOSING, AGAIN = "ours, best 30 %", "ours, chooses by itself", "ours, one loop later"
PICTURES = "ours from images and actions, best 30 %"
SOFT, SOFT_SUCCESSES = "ours, soft weights", "ours, soft weights, failures left out"
"""The second tells what soft weights lose by the failures that they keep."""
RANDOM = "30 % at random"
EVERYTHING, SUCCESSES, TRUTH, EXPERTS = "everything", "true successes", "true return, best 30 %", "experts"
PEER_ARMS = {f"{name}, best 30 %": name for name in PEERS}
SEEING = {f"from images: {name}": name for name in (EVERYTHING, RANDOM, PICTURES, SUCCESSES, TRUTH)}
BLIND = {f"from the hand alone: {name}": name for name in (EVERYTHING, PICTURES)}
"""Arms whose policies are cloned from pictures and the hand's position, or from that alone → which episodes."""
CORE = (EVERYTHING, RANDOM, OURS, CHOOSING, *PEER_ARMS, SUCCESSES, TRUTH, EXPERTS)
PARTS = {
    "core": CORE, "loop": (AGAIN,), "soft": (SOFT, SOFT_SUCCESSES), "progress": tuple(FORMS),
    "images": (PICTURES, *SEEING, *BLIND),
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """What is run once."""

    folder: Path
    task: str
    seed: int

    @property
    def path(self) -> Path:
        """Results of other settings lie elsewhere; after a change of the model itself, throw the folder away."""
        asked, cloned = [ANSWERS, TEACHER, SHARE, SOURCES], [HIDDEN, STEPS, BATCH, STARTS, SEEN_STARTS]
        settings = json.dumps([*asked, *cloned, ROLLOUTS, MORE])
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        return self.folder / f"trials-{digest}" / f"{self.task}-{self.seed}.json"

    def read(self) -> dict[str, Any]:
        """`arrived`: arm → row of each start; `facts`: what is worth knowing beside it."""
        return json.loads(self.path.read_text()) if self.path.exists() else {"arrived": {}, "facts": {}}

    def run(self, parts: list[str]) -> None:
        """Whatever of these parts is missing."""
        from preference.artifacts import replacing

        found, work = self.read(), _Work(self)
        for arm in [arm for part in parts for arm in PARTS[part] if arm not in found["arrived"]]:
            facts: dict[str, Any] = {}
            found["arrived"][arm] = work.arrived(arm, facts)
            found["facts"][arm] = facts
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps(found) + "\n")


class _Work:
    """What the arms of a trial share; each thing is made when it is first needed."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.seed = trial, trial.seed
        self.done: dict[bytes, list[int]] = {}

    @cached_property
    def pool(self) -> Pool:
        return pool_of(self.trial.folder, self.trial.task, self.seed, pictures=False)

    @cached_property
    def seen(self) -> Pool:
        return pool_of(self.trial.folder, self.trial.task, self.seed, pictures=True)

    @cached_property
    def asked(self) -> Asked:
        return asked_of(self.trial.folder, self.trial.task, self.pool, self.seed)

    @cached_property
    def test(self) -> tuple[Any, list[Any]]:
        return make_environment(self.trial.task, self.seed + SHIFT)

    def arrived(self, arm: str, facts: dict[str, Any]) -> list[int]:
        if arm == AGAIN:
            return self._loop(facts)
        chosen = SEEING.get(arm) or BLIND.get(arm)
        if arm in FORMS:
            rows = step_weights(arm, self.pool, self.asked)
        else:
            rows = np.repeat(self._episodes(chosen or arm, facts), ROWS)
        facts |= self.pool.shares(rows)
        return self._seeing(rows, blind=arm in BLIND) if chosen else self._evaluated(self.pool, rows)

    def _episodes(self, arm: str, facts: dict[str, Any]) -> np.ndarray:
        """(N,) the weight of each episode."""
        pool = self.pool
        plain: dict[str, Callable[[], np.ndarray]] = {
            EVERYTHING: lambda: np.ones(len(pool.source)),
            RANDOM: lambda: best(np.random.default_rng([self.seed, 16]).random(len(pool.source))),
            SUCCESSES: lambda: (pool.arrived < ROWS).astype(float),
            TRUTH: lambda: best(pool.returns),
            EXPERTS: lambda: (pool.source == "expert").astype(float),
        }
        if arm in plain:
            return plain[arm]()
        rewards = self._rewards(arm)
        facts["spearman"] = _spearman(rewards, pool.returns)
        if arm in (SOFT, SOFT_SUCCESSES):
            return soft(rewards) * (1.0 if arm == SOFT else pool.arrived < ROWS)
        return by_itself(rewards, facts) if arm == CHOOSING else best(rewards)

    def _rewards(self, arm: str) -> np.ndarray:
        if arm in PEER_ARMS:
            return peer_rewards(PEER_ARMS[arm], self.pool, self.asked, self.seed)
        if arm == PICTURES:
            asked = asked_of(self.trial.folder, self.trial.task, self.seen, self.seed, pictures=True)
            return asked.rewards(self.seen.features(pictures=True))
        return self.asked.rewards(self.pool.features())

    def _policy(self, pool: Pool, rows: np.ndarray) -> Policy:
        width = pool.states.shape[2], pool.actions.shape[2]
        return clone(pool.states.reshape(-1, width[0]), pool.actions.reshape(-1, width[1]), rows, self.seed)

    def _evaluated(self, pool: Pool, rows: np.ndarray) -> list[int]:
        """Arms with the same weights have the same policy, which is tested once."""
        key = rows.tobytes()
        if key not in self.done:
            self.done[key] = arrivals(*self.test, self._policy(pool, rows), self.trial.task)
        return self.done[key]

    def _seeing(self, rows: np.ndarray, blind: bool) -> list[int]:
        from ml_backend.loop.spec import PROJECTION

        sight = Sight(self.seen.frames, 0 if blind else PROJECTION)
        policy = clone_seeing(self.seen, sight, rows, self.seed)
        return arrivals_seeing(*self.test, policy, sight, self.trial.task)

    def _loop(self, facts: dict[str, Any]) -> list[int]:
        """The new policy's rollouts join the pool, a round is asked, and the best 30 % are cloned again."""
        task, pool = self.trial.task, self.pool
        rng = np.random.default_rng([self.seed, 15])
        policy = self._policy(pool, np.repeat(best(self.asked.rewards(pool.features())), ROWS))
        environment, variations = make_environment(task, self.seed)
        new = []
        for number in range(ROLLOUTS):
            driven = shaky(drive(policy), rng)
            variation = variations[int(rng.integers(len(variations)))]
            new.append(roll_out(environment, variation, driven, task=task, source="cloned", seed=number))
        larger = pool.with_more(gathered(new, [pool.frames[0]] * ROLLOUTS))
        features = larger.features()
        asked = ask_more(self.asked, features, larger.returns, MORE, self.seed)
        weights = best(asked.rewards(features))
        facts["rollouts kept"] = int(weights[-ROLLOUTS:].sum())
        facts["rollouts successful"] = float(np.mean(larger.arrived[-ROLLOUTS:] < ROWS))
        facts["spearman"] = _spearman(asked.rewards(features), larger.returns)
        return self._evaluated(larger, np.repeat(weights, ROWS))


def _spearman(rewards: np.ndarray, truth: np.ndarray) -> float:
    from scipy.stats import spearmanr

    found: Any = spearmanr(rewards, truth)
    return round(float(found.statistic), 3)
