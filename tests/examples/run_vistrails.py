"""Runs tagged versions of vistrails in VisTrails' batch mode, and tells what came of them.

``python run_vistrails.py JOB`` reads a job from a JSON file and writes the outcome to ``outcome.json`` beside it. Needs
``examples`` on the path. A job has: the packages to enable; preferences of our package; the modules to import before VisTrails
starts; and vistrails, each with its file, its tags (default: all) and values for its aliases.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from batch import label_of, open_vistrail, processes_left, run_version, vistrails_in

from parallelflow import ipyparallel_flow


def main(path: Path) -> None:
    """Do the job."""
    job = json.loads(path.read_text(encoding="utf-8"))
    folder = path.parent
    for name in job.get("import", ()):
        importlib.import_module(name)
    for name, value in job["preferences"].items():
        setattr(ipyparallel_flow.configuration, name, value)
    outcome: dict[str, Any] = {"runs": {}}
    with vistrails_in(folder, job["packages"], folder / "output"):
        outcome["enabled before"] = enabled_packages()
        for vistrail in job["vistrails"]:
            controller = open_vistrail(Path(vistrail["file"]))
            notes = controller.vistrail.action_annotations
            tags = vistrail.get("tags") or sorted(note.value for note in notes if note.key == "__tag__")
            for tag in tags:
                outcome["runs"][f"{Path(vistrail['file']).stem}: {tag}"] = one(
                    controller, tag, vistrail.get("aliases", {})
                )
        outcome["enabled after"] = enabled_packages()
    outcome["left"] = processes_left(folder)
    outcome["written"] = sorted(each.name for each in (folder / "output").iterdir())
    (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def one(controller: Any, tag: str, aliases: dict[str, Any]) -> dict[str, Any]:
    """Run one version."""
    run = run_version(controller, tag, aliases)
    return {
        "errors": run.errors,
        "maps": modules_named_map(controller.current_pipeline),
        "outputs": {
            label: {port: plain(value) for port, value in ports.items() if port != "self"}
            for label, ports in run.outputs.items()
        },
        "cached": {
            label: [
                inner.cached
                for loop in getattr(execution, "loop_execs", ())
                for iteration in loop.loop_iterations
                for inner in iteration.item_execs
            ]
            for label, execution in run.executions.items()
        },
    }


def modules_named_map(pipeline: Any) -> list[list[str]]:
    """Return package and version of each Map, Groups searched through, with the label of the Group that it is in."""
    found = []
    for module in pipeline.module_list:
        if module.is_group():
            found += [[label_of(module), *rest] for _, *rest in modules_named_map(module.pipeline)]
        elif module.name == "Map":
            found.append(["", module.package, module.version])
    return found


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it, such that equal texts mean equal values; files by their content."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if hasattr(value, "tobytes"):
        return f"{value.dtype}{value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if hasattr(value, "name") and Path(value.name).is_file():
        return f"file {hashlib.sha256(Path(value.name).read_bytes()).hexdigest()}"
    return repr(value)


def enabled_packages() -> list[str]:
    """Return the codepaths of the packages that are enabled."""
    from vistrails.core.packagemanager import get_package_manager

    return sorted(package.codepath for package in get_package_manager().enabled_package_list())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
