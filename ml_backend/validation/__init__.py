"""Can a reward model be trusted? A model and held-out pairs in; figures, a verdict and a page out.

| file | idea |
| --- | --- |
| `accuracy` | ranking accuracy, cross-validation, tiers |
| `temperature` | are its probabilities true, and what makes them so |
| `probes` | can the reward be had without the behaviour, and pairs that teach otherwise |
| `learning_curve` | what more comparisons would bring, and when to stop |
| `other_rewards` | another reward's scores as a file; ours and others' on the same held-out pairs |
| `verdict` | what was reached and what was missed |
| `page` | the page, with rewards, progress and success over filmstrips |
"""
