"""Which pairs are most worth asking next: five selection rules behind one function, `rank_pairs`.

Rewards, members' disagreement and last-layer features of the whole pool come in; the chosen pairs come out, best first.

| file | idea |
| --- | --- |
| `pool` | what a model says of the pool; a choice; pairs as numbers |
| `candidates` | which of the N² pairs are looked at |
| `utility` | what a pair is worth under each rule |
| `sequential` | D-optimal design: each choice changes what the next is worth |
| `diversity` | a batch that does not ask the same thing twice, for the other rules |
| `expected_ties` | how likely an answer is `equal` |
| `choose` | the batch: audit arm, fair use, the rule |
"""

from ml_backend.ranking.candidates import closest_pairs
from ml_backend.ranking.choose import STRATEGIES, rank_pairs
from ml_backend.ranking.expected_ties import TieProbability, davidson_ties, fitted_ties
from ml_backend.ranking.pool import Choice, PairKey, PoolScores, pair_score

__all__ = [
    "STRATEGIES",
    "Choice",
    "PairKey",
    "PoolScores",
    "TieProbability",
    "closest_pairs",
    "davidson_ties",
    "fitted_ties",
    "pair_score",
    "rank_pairs",
]
