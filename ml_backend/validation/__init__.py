"""Can a reward model be trusted? A model and held-out pairs in; figures, a verdict and a page out.

| file | idea |
| --- | --- |
| `accuracy` | ranking accuracy, cross-validation, calibration, tiers |
| `ceiling` | what a perfect model would score on these labels |
| `probes` | can the reward be had without the behaviour, and pairs that teach otherwise |
| `learning_curve` | what more comparisons would bring, and when to stop |
| `scores`, `against` | another reward's scores as a file; ours and others' on the same held-out pairs |
| `curves` | rewards, progress and success over filmstrips |
| `page` | the verdict and the page |
"""
