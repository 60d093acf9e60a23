"""VisTrails' own tests of its Map and Filter pass with ours in their place."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from parity import View
from workflows import CONTROL, OURS

pytestmark = pytest.mark.usefixtures("parity")


def _ours_instead(execute: Callable[..., Any], used: list[str]) -> Callable[..., Any]:
    """VisTrails' `execute` for tests, with our Map and Filter wherever the serial ones are meant."""

    def run(modules: list[Any], *arguments: Any, **more: Any) -> Any:
        replaced = []
        for name, identifier, functions in modules:
            if name in ("Map", "Filter") and identifier == CONTROL:
                used.append(name)
                identifier = OURS
            replaced.append((name, identifier, functions))
        return execute(replaced, *arguments, **more)

    return run


def _tests() -> Iterator[Any]:
    from vistrails.packages.controlflow import utils

    for case in (utils.TestMap, utils.TestUtils):
        yield from unittest.defaultTestLoader.loadTestsFromTestCase(case)


def test_the_tests_of_control_flow_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from vistrails.packages.controlflow import utils

    from parallelflow.map.module import Filter, Map

    used: list[str] = []
    monkeypatch.setattr(utils, "execute", _ours_instead(utils.execute, used))
    monkeypatch.setattr(utils, "Map", Map)
    monkeypatch.setattr(utils, "Filter", Filter)
    result = unittest.TestResult()
    tests = list(_tests())
    for test in tests:
        test.run(result)
    assert result.testsRun == len(tests) >= 6
    assert not result.errors, result.errors[0][1]
    assert not result.failures, result.failures[0][1]
    assert sorted(used) == ["Filter"] + ["Map"] * 3


@pytest.fixture
def myjobs() -> Iterator[str]:
    """The package of jobs that VisTrails brings for its tests, from a place of its own."""
    from vistrails.core.configuration import get_vistrails_configuration
    from vistrails.core.packagemanager import get_package_manager

    get_vistrails_configuration().jobAutorun = True
    manager = get_package_manager()
    manager.late_enable_package("myjob", {"myjob": "vistrails.tests.resources."})
    yield "org.vistrails.vistrails.myjobs"
    manager.late_disable_package("myjob")
    get_vistrails_configuration().jobAutorun = False


@pytest.mark.usefixtures("own_temporaries")
@pytest.mark.parametrize("package", [CONTROL, OURS], ids=["serial", "ours"])
def test_a_map_over_jobs_is_suspended_and_finishes(package: str, myjobs: str) -> None:
    """What `testMap` in VisTrails' `gui/job_monitor.py` does in a window, with its file."""
    from vistrails.core.db.io import load_vistrail
    from vistrails.core.db.locator import FileLocator
    from vistrails.core.interpreter.cached import CachedInterpreter
    from vistrails.core.log.controller import LogController
    from vistrails.core.log.log import Log
    from vistrails.core.packagemanager import get_package_manager
    from vistrails.core.system import vistrails_root_directory
    from vistrails.core.vistrail.job import JobMonitor, Workflow

    vistrail, *_ = load_vistrail(FileLocator(f"{vistrails_root_directory()}/tests/resources/jobs.vt"))
    interpreter, monitor, jobs = CachedInterpreter(), JobMonitor(), Workflow(1)
    results = []
    for _ in range(2):
        pipeline = vistrail.getPipeline(vistrail.get_version_number("SuspendMap"))
        (module,) = [module for module in pipeline.module_list if module.name == "Map"]
        module.package, module.version = package, get_package_manager().get_package(package).version
        monitor.startWorkflow(jobs)
        results.append(
            interpreter.execute(
                pipeline, view=View(), logger=LogController(Log()), current_version=1, job_monitor=monitor
            )
        )
        monitor.finishWorkflow()
    first, second = results
    assert first.errors == second.errors == {}
    assert first.suspended != {}
    assert second.suspended == {}
