"""The parts of `scripts/bench/label_efficiency.py`: episodes, one course of labels, and what the courses say."""
