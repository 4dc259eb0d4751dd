"""Simulated annotators, so that the whole loop runs with no one present.

- `teachers.TEACHERS`: how they decide (B-Pref, Lee et al. 2021).
- `answering.simulate(ws)`: they answer their open tasks through Label Studio's API, as people do.
"""
