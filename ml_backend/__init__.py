"""From labels to a reward model and the next pairs.

`service` > `loop` > `validation` and `ranking` > `reward`; each imports only those after it. `reward`, `validation` and
`ranking` take arrays and records; `loop` works over a workspace.
"""
