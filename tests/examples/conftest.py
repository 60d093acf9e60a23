"""The fixture by which tests run vistrails in VisTrails processes of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from example_runs import Batch, run_python
from helpers import PATIENT


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """Does a job of `run_vistrails` in a process of its own, and returns the outcome."""

    def run(vistrails: list[dict[str, Any]], packages: list[str], path: str = "", **more: Any) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("b")
        job = folder / "job.json"
        job.write_text(
            json.dumps({"vistrails": vistrails, "packages": packages, "preferences": PATIENT, **more}), encoding="utf-8"
        )
        process = run_python(
            [str(Path(__file__).with_name("run_vistrails.py")), str(job)], folder, limit=800, path=path
        )
        result = folder / "outcome.json"
        assert result.is_file(), process.stdout[-5000:]
        outcome: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        outcome["printed"] = process.stdout
        outcome["folder"] = folder
        return outcome

    return run
