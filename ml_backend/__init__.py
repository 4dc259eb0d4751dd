"""From labels to a reward model, the next pairs, and a release.

`service`, `release` and `label_studio_ml` > `loop` > `validation` and `ranking` > `reward`; each imports only those
after it. `reward`, `validation` and `ranking` take arrays and records; `loop` works over a workspace.
"""
