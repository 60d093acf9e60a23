"""Opens vistrails in VisTrails' real window, and tells what it shows.

``python open_in_window.py FOLDER FILE...`` keeps VisTrails' settings in FOLDER, and writes to FOLDER/shown.json what each tagged
version of each file shows: its modules' labels, those among them that are invalid, the notes. A picture of each pipeline is
put beside it. Needs ``examples`` on the path.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from batch import PACKAGES, label_of, prepare_settings


def show(application: Any, path: Path, pictures: Path) -> dict[str, Any]:
    """Open a file, go through its tagged versions, and return what there is to see of each."""
    from vistrails.core.db.locator import FileLocator

    window = application.builderWindow
    window.open_vistrail_without_prompt(FileLocator(str(path)))
    controller = window.get_current_controller()
    shown = {}
    for tag in sorted(note.value for note in controller.vistrail.action_annotations if note.key == "__tag__"):
        number = controller.vistrail.get_version_number(tag)
        controller.change_selected_version(number)
        window.qactions["pipeline"].trigger()
        application.processEvents()
        pipeline = controller.current_pipeline
        pipeline.validate()
        scene = window.get_current_view().get_current_tab().scene()
        scene.saveToPNG(str(pictures / f"{path.stem} {tag}.png"))
        shown[tag] = {
            "modules": sorted(label_of(module) for module in pipeline.module_list),
            "drawn": len(scene.modules),
            "invalid": [label_of(module) for module in pipeline.module_list if not module.is_valid],
            "notes": controller.vistrail.get_notes(number),
        }
    return shown


def main(folder: Path, files: list[Path]) -> None:
    """Open the files and end this process."""
    settings = prepare_settings(folder, (*PACKAGES, "matplotlib", "vtk"))
    from PyQt5.QtCore import QTimer
    from vistrails.gui import application as gui

    result: dict[str, Any] = {}

    def go() -> None:
        try:
            for path in files:
                result[path.name] = show(application, path, folder)
        except BaseException:
            result["failure"] = traceback.format_exc()
        (folder / "shown.json").write_text(json.dumps(result), encoding="utf-8")
        application.package_manager.finalize_packages()
        os._exit(0)  # the host's window does not survive the interpreter's orderly end

    assert gui.start_application({"dotVistrails": str(settings)}, args=[]) == 0
    application = gui.get_vistrails_application()
    QTimer.singleShot(0, go)
    application.exec_()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name).resolve() for name in sys.argv[2:]])
