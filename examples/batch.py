"""VisTrails in batch mode, in a folder of its own: start it, open a vistrail, run one of its versions, stop it.

What `vistrails --batch` does, in a form that a script can use. Nothing of the user's is read or changed: VisTrails' settings and
the IPython profile lie in the folder that is given. Used by the demo, by the script that makes the examples, and by their tests.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("controlflow", "pythonCalc", "ipyparallel_flow")

_STARTUP = """\
<startup version="0.1">
  <configuration>
    <key name="executionLog"><bool value="True"/></key>
    <key name="handlerDontAsk"><bool value="True"/></key>
    <key name="installBundles"><bool value="False"/></key>
    <key name="showSplash"><bool value="False"/></key>
    <key name="singleInstance"><bool value="False"/></key>
  </configuration>
  <packages>
{packages}
  </packages>
  <disabledpackages/>
</startup>
"""


@dataclass(frozen=True)
class Run:
    """What came of an execution.

    :param errors: the message of each module that failed, by its label
    :param outputs: what each module that did not fail put on its output ports, by its label
    :param executions: VisTrails' log of each module, a `ModuleExec` or `GroupExec`, by its label
    """

    errors: dict[str, str]
    outputs: dict[str, dict[str, Any]]
    executions: dict[str, Any]


def prepare_settings(folder: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """Write VisTrails' settings, such that it asks nothing at its start, and return the folder that they are in.

    :param packages: the codepaths of the packages to enable
    """
    settings = folder / "dot-vistrails"
    settings.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(f'    <package name="{codepath}"/>' for codepath in packages)
    (settings / "startup.xml").write_text(_STARTUP.format(packages=lines), encoding="utf-8")
    return settings


@contextmanager
def vistrails_in(folder: Path, packages: Sequence[str] = PACKAGES, output: Path | None = None) -> Iterator[None]:
    """Start VisTrails in batch mode, and stop it in the end, with all that its packages started.

    A process can do this once, for VisTrails can be started once.

    :param folder: where VisTrails' settings and IPython's profiles are kept; made if need be
    :param packages: the codepaths of the packages to enable
    :param output: the folder that output modules write to; default: the current one
    """
    settings = prepare_settings(folder, packages)
    os.environ["IPYTHONDIR"] = str(folder / "ipython")
    # VisTrails' messages go to its log file, dot-vistrails/logs; what concerns an execution is in its result as well.
    logging.getLogger("vistrails").addHandler(logging.NullHandler())
    logging.getLogger("vistrails").propagate = False

    from vistrails.core import application

    options: dict[str, Any] = {"batch": True, "dotVistrails": str(settings), "installBundles": False}
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        options["outputDirectory"] = str(output)
    app = application.init(options, args=[])
    try:
        yield
    finally:
        app.finishSession()
        app.destroy()
        # At the interpreter's exit it would be too late for the application's own finalizer.
        application.set_vistrails_application(None)
        del app


def processes_left(folder: Path) -> list[str]:
    """Return the processes that run for the IPython profiles in a folder, as texts for people.

    :param folder: as for :func:`vistrails_in`; whatever was started for it has its name in the environment
    """
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("IPYTHONDIR") == str(folder / "ipython"):
                found.append(f"{process.name()} ({process.pid})")
        except psutil.Error:
            continue
    return found


def open_vistrail(path: Path) -> Any:
    """Open a vistrail and return its controller.

    :raises OSError: if it cannot be read
    """
    from vistrails.core.db.io import load_vistrail
    from vistrails.core.db.locator import FileLocator
    from vistrails.core.vistrail.controller import VistrailController

    if not path.is_file():
        raise OSError(f"There is no vistrail {path}.")
    locator = FileLocator(str(path))
    controller = VistrailController(load_vistrail(locator)[0], locator, auto_save=False)
    locator.close()  # removes the temporary folder that it was unpacked into
    return controller


def run_version(
    controller: Any,
    tag: str,
    aliases: Mapping[str, object] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Run:
    """Execute one version of a vistrail.

    :param controller: from :func:`open_vistrail`
    :param tag: the version's tag
    :param aliases: values for parameters, by their alias
    :param progress: called with a module's label and how much of it is done, from 0 to 1
    :raises KeyError: if there is no such tag
    :raises InvalidPipeline: if the version cannot be executed, for instance because a package is missing
    """
    from vistrails.core.interpreter.default import get_default_interpreter

    controller.do_version_switch(controller.vistrail.get_version_number(tag))
    pipeline = controller.current_pipeline
    texts = {name: str(value) for name, value in (aliases or {}).items()}
    unknown = sorted(set(texts) - set(pipeline.aliases))
    if unknown:
        raise KeyError(f"The version '{tag}' has no parameter with the alias '{unknown[0]}'.")
    labels = {module.id: label_of(module) for module in pipeline.module_list}
    interpreter = get_default_interpreter()
    outputs: dict[str, dict[str, Any]] = {}

    def keep(number: int) -> None:
        # VisTrails clears the modules that it does not cache when the execution ends.
        module = interpreter._objects[number]
        outputs[labels[module.moduleInfo["moduleId"]]] = dict(module.outputPorts)

    result = interpreter.execute(
        pipeline,
        controller=controller,
        locator=controller.locator,
        current_version=controller.current_version,
        view=_view(labels, progress or (lambda label, fraction: None)),
        logger=controller.get_logger(),
        aliases=texts,
        reason="Batch mode",
        module_executed_hook=[keep],
    )
    workflow = controller.log.workflow_execs[-1]
    return Run(
        errors={labels.get(number, str(number)): error.msg for number, error in result.errors.items()},
        outputs=outputs,
        executions={labels[each.module_id]: each for each in workflow.item_execs},
    )


def _view(labels: Mapping[int, str], progress: Callable[[str, float], None]) -> Any:
    """Make what VisTrails takes for a window, and tells of the progress."""
    from vistrails.core.utils import DummyView

    class View(DummyView):  # type: ignore[misc]
        def set_module_progress(self, module_id: int, fraction: float, *_: object) -> None:
            progress(labels[module_id], fraction)

    return View()


def label_of(module: Any) -> str:
    """Return the label that a module of a pipeline is shown with."""
    if module.has_annotation_with_key("__desc__"):
        return str(module.get_annotation_by_key("__desc__").value)
    return str(module.name)
