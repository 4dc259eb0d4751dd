"""Claim: the whole demo takes at most 10 minutes on two cores without a GPU, the installation aside.

Runs `robopref demo --exit --fresh` in a folder of its own and prints its seconds per stage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 600


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "demo"
        start = time.perf_counter()
        command = [sys.executable, "-m", "robopref", "demo", "--exit", "--fresh", "--root", str(root)]
        subprocess.run(command, check=True)
        total = time.perf_counter() - start
        summary = json.loads((root / "summary.json").read_text(encoding="utf-8"))
    for stage, seconds in summary["seconds"].items():
        print(f"{stage:<14} {seconds:>7.1f} s")
    print(f"{'all':<14} {total:>7.1f} s of {LIMIT_S}")
    figures = {"total_s": total, **summary["seconds"], "judgments": summary["judgments"]}
    result = {"name": "demo", "figures": figures, "target": "at most 600 s", "met": total <= LIMIT_S}
    print(json.dumps(result))
    sys.exit(0 if result["met"] else 1)


if __name__ == "__main__":
    main()
