"""Draws what `run.py` has measured, for the user's guide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"ours": "tab:blue", "serial": "tab:red", "ipyparallel": "tab:gray", "joblib": "tab:green"}
LABELS = {
    "ours": "Parallel Flow's Map",
    "serial": "serial Map",
    "ipyparallel": "plain ipyparallel, without VisTrails",
    "joblib": "joblib, without VisTrails",
}


def draw(results: dict[str, Any], folder: Path) -> None:
    """Write the plots as PNG files into a folder."""
    cases = results["cases"]
    lengths = {"trivial": {0.0: 1000}, "cpu": {0.001: 1000, 0.01: 300, 0.1: 60}}
    by_work = [case for case in cases if lengths.get(case["kind"], {}).get(case["work"]) == case["elements"]]
    by_number = [case for case in cases if case["kind"] == "trivial"]
    _lines(
        sorted(by_work, key=lambda case: case["work"]),
        lambda case: max(case["work"] * 1000, 0.01),
        "work per element in ms of CPU (0.01: none)",
        folder / "by-work.png",
    )
    _lines(by_number, lambda case: case["elements"], "elements, without work", folder / "by-number.png")
    _by_engines(results["engines"], folder / "by-engines.png")


def _by_engines(results: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    engines = sorted(map(int, results))
    for name in ("ours", "serial", "ipyparallel"):
        times = [results[str(each)][name]["median"] * 1000 for each in engines]
        axes.plot(engines, times, "o-", color=COLOURS[name], label=LABELS[name])
    axes.set(xlabel="engines", ylabel="time per element in ms", xticks=engines, ylim=(0, None))
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def _lines(cases: list[dict[str, Any]], x: Any, label: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, colour in COLOURS.items():
        axes.plot(
            [x(case) for case in cases],
            [case["times"][name]["median"] / case["elements"] * 1000 for case in cases],
            "o-",
            color=colour,
            label=LABELS[name],
        )
    axes.set(xlabel=label, ylabel="time per element in ms", xscale="log", yscale="log")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
