"""Elements that call BLAS, which would make a thread for each core in every engine.

    python benchmarks/blas.py ELEMENTS

does the work of so many elements in this process, with the threads that its environment names, and prints the seconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import Any

# Decompositions per element, and the size of the matrix.
TIMES, SIZE = 6, 400
ELEMENTS = 16


def work(number: int) -> float:
    """Do one element's work.

    :param number: the element.
    :returns: the sum of the matrix's singular values.
    """
    import numpy

    matrix = numpy.random.default_rng(number).random((SIZE, SIZE))
    return float(sum(numpy.linalg.svd(matrix, compute_uv=False).sum() for _ in range(TIMES)))


def measure(rounds: int, engines: int) -> dict[str, Any]:
    """Time Map and the serial Map, and what one process with one thread takes, side by side.

    :param rounds: how often.
    :param engines: how many there are.
    :returns: the share of the ideal time and the ratio to the serial Map's, each a list by round.
    """
    from workload import OURS, SERIAL, Workflow

    ours, serial = Workflow(OURS, "blas"), Workflow(SERIAL, "blas")
    ours.run(engines)  # engines get the plan, and numpy
    shares, ratios = [], []
    for _ in range(rounds):
        ideal = _alone(ELEMENTS) / engines
        time_of_ours = ours.run(ELEMENTS)
        shares.append(ideal / time_of_ours)
        ratios.append(time_of_ours / serial.run(ELEMENTS))
    print(
        f"{ELEMENTS} elements of {TIMES} decompositions of {SIZE} x {SIZE} (BLAS): share of the ideal time"
        f" {statistics.median(shares):.2f}, ours / serial: {statistics.median(ratios):.2f}"
    )
    return {"share": shares, "ratio": ratios}


def _alone(elements: int) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(elements)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    work(0)  # numpy is there
    started = time.perf_counter()
    for element in range(int(sys.argv[1])):
        work(element)
    print(time.perf_counter() - started)
