"""By how many megabytes VisTrails grows when one of the two Maps runs over 10,000 elements without work.

python benchmarks/memory.py ours
python benchmarks/memory.py serial
"""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

import psutil
import run

ELEMENTS = 10_000


def main(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="pfb") as home, run._vistrails(Path(home)):
        from workload import OURS, SERIAL, Workflow

        # VisTrails connects, and loads what it loads when it first runs something.
        workflow = Workflow({"ours": OURS, "serial": SERIAL}[name], "trivial")
        workflow.run(10)
        gc.collect()
        process = psutil.Process()
        before = process.memory_info().rss
        workflow.run(ELEMENTS)
        print((process.memory_info().rss - before) / 1e6)


if __name__ == "__main__":
    main(sys.argv[1])
