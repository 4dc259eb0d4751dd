"""Where things are, for every test."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
MAKERS = TESTS / "makers"
ROOT = TESTS.parent
SAMPLE_POOL = ROOT / "examples" / "pool"
DATA = ROOT.parent / "shared" / "data"
"""Public data sets that are too large for the repository; tests of them are skipped where it is not there."""
ARTIFACTS = TESTS / "artifacts"
"""Pictures and tables that CI keeps, to be looked at."""
