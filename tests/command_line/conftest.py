"""Limits for what is meant to succeed, in commands that run in the tests' own process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import LONG, PATIENT

from parallelflow.cluster import Settings, survey
from parallelflow.command_line import cluster_checks, clusters, trial, user


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives what is meant to succeed its time on a busy machine, but where the settings say something else."""
    read, default = user.settings, Settings()

    def settings(folder: Path, profile: str | None = None) -> Settings:
        said = read(folder, profile)
        same = {name: float(limit) for name, limit in PATIENT.items() if getattr(said, name) == getattr(default, name)}
        return replace(said, **same)  # type: ignore[arg-type]

    monkeypatch.setattr(user, "settings", settings)
    monkeypatch.setattr(survey, "_WITHIN", LONG)
    for module in (cluster_checks, trial):
        monkeypatch.setattr(module, "_ANSWER_WITHIN", LONG)
    for name in ("_PATIENCE", "_PATIENCE_WITH_IDLE"):
        monkeypatch.setattr(clusters, name, LONG)
