"""Can a reward model be trusted? Held-out pairs in; accuracy, calibration, probes, learning curve out."""
