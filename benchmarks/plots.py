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
    by_work = [case for case in cases if case["kind"] == "cpu" or case["elements"] == 1000]
    by_number = [case for case in cases if case["kind"] == "trivial"]
    _lines(
        sorted(by_work, key=lambda case: case["work"]),
        lambda case: max(case["work"] * 1000, 0.01),
        "work per element in ms of CPU (0.01: none)",
        folder / "by-work.png",
    )
    _lines(by_number, lambda case: case["elements"], "elements, without work", folder / "by-number.png")
    figure, axes = plt.subplots(figsize=(6, 4))
    engines = sorted(results["engines"], key=int)
    axes.plot(
        [int(each) for each in engines],
        [results["engines"][each]["median"] / 100 * 1000 for each in engines],
        "o-",
        color=COLOURS["ours"],
        label=LABELS["ours"],
    )
    axes.plot([1, 2], [20, 10], "--", color="black", label="ideal")
    axes.set(xlabel="engines", ylabel="time per element in ms", xticks=[1, 2], ylim=(0, None))
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / "by-engines.png", dpi=100)


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
