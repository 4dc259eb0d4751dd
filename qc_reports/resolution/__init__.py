"""From votes to one label per pair, and where the methods differ.

- `vote.resolve(pairs, answers, ...)`: the majority, and why a pair has no label.
- `methods.apply(method, pairs, answers, voted)`: Dawid-Skene or weighted Bradley-Terry in its place.
- `weighted_bradley_terry`: one score per trajectory from weighted votes (Bradley & Terry 1952, ties by Davidson 1970).
- `exclusions.left_out(...)`: what leaving people out changes.
"""
