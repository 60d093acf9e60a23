"""VisTrails' own tests against the VisTrails that the repairs made; each known failure by name and with its cause."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.host, pytest.mark.slow]

SUITES = ("core", "db", "gui", "packages.controlflow", "packages.tabledata")
AT_LEAST = 400  # fewer means that modules with tests were not imported; Python 3.12.1 does not count the skipped ones

# Runs VisTrails' own runner. Its tests use names that unittest dropped in Python 3.12.
_RUN = """
import runpy, unittest
test = unittest.TestCase
test.assertEquals, test.assertNotEquals, test.assert_ = test.assertEqual, test.assertNotEqual, test.assertTrue
test.failUnlessRaises = test.assertRaises
runpy.run_module("vistrails.tests.runtestsuite", run_name="__main__", alter_sys=True)
"""

KNOWN_FAILURES = {
    "vistrails.packages.tabledata.write.write_numpy.WriteNumpyTestCase.test_raw_numpy": (
        "the test itself calls array.tostring(), which Python 3.9 dropped"
    ),
    "vistrails.packages.tabledata.convert.convert_numpy.ReshapeTestCase.test_noreshape": (
        "the test expects the words of an old numpy's error"
    ),
}
if sys.version_info >= (3, 13):
    KNOWN_FAILURES["vistrails.core.debug.TestStack.test_print_exc"] = "the test expects the layout of older tracebacks"
if os.geteuid() == 0:
    KNOWN_FAILURES["vistrails.core.startup.TestStartup.test_permissions"] = "root may write where the test forbids it"


@pytest.mark.timeout(1800)
def test_vistrails_own_tests_pass_but_for_the_known_failures(clean_home: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "TMPDIR": str(tmp_path), "LC_ALL": "C.UTF-8"}
    # After a window was open, VisTrails may die of a segmentation fault at Python's exit: its exit status says nothing.
    result = subprocess.run(
        [sys.executable, "-c", _RUN, *(f"vistrails.{suite}" for suite in SUITES)],
        cwd=clean_home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1700,
        check=False,
    )
    ran = re.search(r"^Ran (\d+) tests", result.stdout, re.MULTILINE)
    assert ran, f"VisTrails' tests did not get to their end:\n{result.stdout[-5000:]}"
    assert int(ran[1]) >= AT_LEAST
    assert failures(result.stdout) == set(KNOWN_FAILURES), result.stdout[-20000:]


def failures(output: str) -> set[str]:
    """The full names of the tests that unittest lists as failed (Python 3.10 puts only the class in brackets)."""
    found = re.findall(r"^(?:FAIL|ERROR): (\w+) \(([\w.]+)\)", output, re.MULTILINE)
    return {f"{place.removesuffix(f'.{name}')}.{name}" for name, place in found}
