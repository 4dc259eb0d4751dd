"""Which pairs are most worth asking next: seven selection rules behind one function, `rank_pairs`.

Rewards, members' disagreement and last-layer features of the whole pool come in; the chosen pairs come out, best first.

| file | idea |
| --- | --- |
| `scores` | what a model says of the pool, and what `v_optimal` plans by |
| `candidates` | which of the pool's N² pairs are looked at |
| `utility` | what a pair is worth under each rule, D- and V-optimal design among them, and how likely a tie is |
| `choose` | where the next pairs are chosen: audit arm, the rule, a diverse batch, fair use |
"""

from ml_backend.ranking.candidates import closest_pairs
from ml_backend.ranking.choose import STRATEGIES, Choice, rank_pairs
from ml_backend.ranking.scores import Design, PairKey, PoolScores, fit_design, pair_score
from ml_backend.ranking.utility import TieProbability, davidson_ties, fitted_ties

__all__ = [
    "STRATEGIES",
    "Choice",
    "Design",
    "PairKey",
    "PoolScores",
    "TieProbability",
    "closest_pairs",
    "davidson_ties",
    "fit_design",
    "fitted_ties",
    "pair_score",
    "rank_pairs",
]
