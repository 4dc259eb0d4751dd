"""The parts of `scripts/bench/policy.py`: pools, asking, cloning, one trial, and what the trials say."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))  # for the sample pool's simulator
