"""``python -m host.vistrails_window [arguments]``: opens VisTrails' window with this project's package enabled.

VisTrails' settings are kept in the clone, so that nothing here reads or writes the user's own ``~/.vistrails``.
Arguments are VisTrails' own, for instance a file to open. Runs in the environment that `environment` made.
"""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Sequence
from pathlib import Path

SETTINGS = Path(__file__).resolve().parent.parent / "build" / "dot-vistrails"

# The packages that work without anything else installed, and answers to the questions of a first start.
_STARTUP = """\
<startup version="0.1">
  <configuration>
    <key name="executionLog"><bool value="True"/></key>
    <key name="handlerDontAsk"><bool value="True"/></key>
    <key name="installBundles"><bool value="False"/></key>
    <key name="singleInstance"><bool value="False"/></key>
    <key name="showSplash"><bool value="False"/></key>
  </configuration>
  <packages>
    <package name="pythonCalc"/>
    <package name="spreadsheet"/>
    <package name="dialogs"/>
    <package name="URL"/>
    <package name="CLTools"/>
    <package name="controlflow"/>
    <package name="tabledata"/>
    <package name="ipyparallel_flow"/>
  </packages>
  <disabledpackages/>
</startup>
"""


def prepare(settings: Path) -> None:
    """Make VisTrails' settings folder, unless there is one already.

    :param settings: the folder
    """
    startup = settings / "startup.xml"
    if not startup.exists():
        settings.mkdir(parents=True, exist_ok=True)
        startup.write_text(_STARTUP, encoding="utf-8")


def main(arguments: Sequence[str], settings: Path = SETTINGS) -> int:
    """Run VisTrails until its window is closed, the way its own ``run.py`` does.

    :param arguments: VisTrails' own
    :param settings: VisTrails' settings folder
    :returns: VisTrails' exit status
    """
    prepare(settings)
    locale.setlocale(locale.LC_ALL, "")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # the console's debugger warns of it at each start
    from vistrails.core import debug

    debug.DebugPrint.getInstance().log_to_console()
    from vistrails.gui.requirements import require_pyqt5

    require_pyqt5()
    from vistrails.gui import application

    status = application.start_application({"dotVistrails": str(settings)}, args=list(arguments))
    if status == 0:
        status = application.get_vistrails_application().exec_()
    application.stop_application()
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
