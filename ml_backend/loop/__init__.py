"""What runs by itself over a workspace.

| file | idea |
| --- | --- |
| `features` | what can be seen of the pool: one cached file per trajectory |
| `spec` | a model's description, the pool as a model of that description sees it, and what is known of its success |
| `train` | labels and features in, a validated and registered model out |
| `models` | which model is in use, promoting and rolling back, what it says of the pool |
| `validate` | the stage: probes, learning curve, verdict, page |
| `queue_order` | each open task's place in its annotator's queue |
| `rounds` | the active-learning round: labels, training, ranking, the next batch |
| `worker` | looks at the database, does what managers asked for, and runs a round when enough is new |
"""
