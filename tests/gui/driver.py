"""Drives the real VisTrails window as a user would, from inside its event loop, in a process of its own.

``python driver.py SCENARIO FOLDER`` opens the window with its settings in FOLDER, runs the generator of that name from
`scenarios`, `exploring` or `editing`, quits VisTrails the way its own menu does, and writes what it saw to FOLDER/seen.json. A
scenario yields whenever the event loop is to go on; it is resumed every few milliseconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")

Scenario = Generator[None, None, None]

PACKAGES = ("controlflow", "ipyparallel_flow")

_TICK = 10  # milliseconds
_PATIENCE = 240.0  # seconds that anything may take which a scenario waits for


class User:
    """Somebody in front of the window.

    :ivar seen: what is reported to the test: by name, anything that JSON can hold
    """

    def __init__(self, application: Any, folder: Path) -> None:
        self.application = application
        self.folder = folder
        self.builder = application.builderWindow
        self.seen: dict[str, Any] = {"said": []}
        self.doing = ["otherwise"]
        self.gaps: dict[str, float] = {}
        self._over: list[str] = []

    # ------------------------------------------------------------ wait

    def until(self, look: Callable[[], _T | None], what: str, patience: float = _PATIENCE) -> Generator[None, None, _T]:
        """Wait until something is there, and return it."""
        end = time.monotonic() + patience
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < end, f"{what} did not come; visible: {self._visible()}"
            yield

    def dialog(self, name: str) -> Generator[None, None, Any]:
        """Wait for a window of a class, and note what it says."""
        dialog = yield from self.until(lambda: self.window(name), name)
        self.seen["said"].append(said(dialog))
        return dialog

    def gone(self, dialog: Any) -> Generator[None, None, None]:
        """Wait until a window has gone."""
        from PyQt5 import sip

        yield from self.until(lambda: sip.isdeleted(dialog) or not dialog.isVisible(), "the end of a dialog")

    def watch(self, name: str) -> list[Any]:
        """Return a list to which each window of a class is added when it appears, whether anybody looks or not."""
        from PyQt5.QtCore import QEvent, QObject

        class Watch(QObject):
            def eventFilter(self, watched: Any, event: Any) -> bool:
                if event.type() == QEvent.Show and type(watched).__name__ == name:
                    appeared.append(said(watched))
                return False

        appeared: list[Any] = []
        self._watch = Watch(self.application)
        self.application.installEventFilter(self._watch)
        return appeared

    def window(self, name: str) -> Any:
        """The visible window of a class, or None. The one that was opened last, if there are more."""
        found = [widget for widget in self.application.topLevelWidgets() if type(widget).__name__ == name]
        visible = [widget for widget in found if widget.isVisible()]
        modal = self.application.activeModalWidget()
        return modal if modal in visible else (visible[-1] if visible else None)

    def _visible(self) -> list[str]:
        return [str(said(widget)) for widget in self.application.topLevelWidgets() if widget.isVisible()]

    # ------------------------------------------------------------ act

    @contextmanager
    def at(self, doing: str) -> Iterator[None]:
        """Book how long the event loop was blocked meanwhile under a name."""
        self.doing.append(doing)
        try:
            yield
        finally:
            self._over.append(doing)  # what it did last is yet to be booked

    def book(self, gap: float) -> None:
        """Book how long the event loop was blocked."""
        doing = self.doing[-1]
        self.gaps[doing] = max(self.gaps.get(doing, 0.0), round(gap, 3))
        for over in self._over:
            self.doing.remove(over)
        self._over.clear()

    def choose(self, entry: str) -> None:
        """Choose an entry of Packages > Parallel Flow, through its QAction."""
        self.menu()[entry].trigger()

    def menu(self) -> dict[str, Any]:
        """The entries of Packages > Parallel Flow."""
        for action in self.builder.qmenus["packages"].actions():
            if action.text() == "Parallel Flow":
                return {entry.text(): entry for entry in action.menu().actions()}
        return {}

    @staticmethod
    def click(widget: Any) -> None:
        """Press and release the left mouse button."""
        from PyQt5.QtCore import QPoint, Qt
        from PyQt5.QtTest import QTest
        from PyQt5.QtWidgets import QAbstractButton, QCheckBox, QRadioButton

        assert widget.isEnabled(), f"{widget.objectName()} is not enabled"
        place = widget.rect().center()
        if isinstance(widget, (QCheckBox, QRadioButton)):
            place = QPoint(8, widget.height() // 2)  # where the box is
        assert isinstance(widget, QAbstractButton)
        QTest.mouseClick(widget, Qt.LeftButton, Qt.NoModifier, place)

    def press(self, dialog: Any, name: str) -> None:
        """Press a button of a dialog of ours, by the name of the object."""
        from PyQt5.QtWidgets import QAbstractButton

        button = dialog.findChild(QAbstractButton, name)
        assert button is not None, f"no button {name!r}"
        self.click(button)

    @staticmethod
    def type(widget: Any, text: str) -> None:
        """Replace a field's text by typing."""
        from PyQt5.QtTest import QTest

        widget.setFocus()
        widget.selectAll()
        QTest.keyClicks(widget, text)

    @staticmethod
    def choose_row(view: Any, row: int) -> None:
        """Click a row of a list or a table."""
        from PyQt5.QtCore import Qt
        from PyQt5.QtTest import QTest

        place = view.visualRect(view.model().index(row, 0)).center()
        QTest.mouseClick(view.viewport(), Qt.LeftButton, Qt.NoModifier, place)

    @staticmethod
    def key(widget: Any, key: Any) -> None:
        """Press a key."""
        from PyQt5.QtTest import QTest

        QTest.keyClick(widget, key)

    def later(self, function: Callable[[], Any]) -> None:
        """Have the event loop call something that does not return soon."""
        from PyQt5.QtCore import QTimer

        QTimer.singleShot(0, function)

    # ------------------------------------------------------------ know

    @property
    def cluster(self) -> Any:
        """What the session knows of the cluster."""
        from parallelflow.cluster import get_session

        return get_session().state()

    def package(self) -> Any:
        """VisTrails' package object."""
        from vistrails.core.packagemanager import get_package_manager

        return get_package_manager().get_package_by_codepath("ipyparallel_flow")

    def messages(self) -> list[str]:
        """What VisTrails' messages window holds."""
        from vistrails.gui.debug import DebugView

        view = DebugView.instance()
        return [view.list.item(row).data(32) for row in range(view.list.count())]


def said(widget: Any) -> dict[str, Any]:
    """The words of a window."""
    from PyQt5.QtWidgets import QAbstractButton, QLabel, QMessageBox

    words = [each.text() for each in widget.findChildren(QLabel) if each.text() and each.isVisible()]
    if isinstance(widget, QMessageBox):
        words = [text for text in (widget.text(), widget.informativeText()) if text]
    buttons = [each.text() for each in widget.findChildren(QAbstractButton) if each.text() and each.isVisible()]
    kind = type(widget).__name__
    return {"kind": kind, "title": widget.windowTitle(), "text": " | ".join(words), "buttons": buttons}


def _drive(user: User, scenario: Scenario, done: Callable[[], None]) -> None:
    from PyQt5.QtCore import Qt, QThread, QTimer

    timer = QTimer(user.application)
    timer.setTimerType(Qt.PreciseTimer)
    before, waited = time.monotonic(), _waited_for_a_core()
    over = quitting = False

    def tick() -> None:
        nonlocal before, waited, over, quitting
        # What a scenario does itself, such as pressing a button, counts: its slots run in the event loop, too.
        now, has_waited = time.monotonic(), _waited_for_a_core()
        user.book(max(0.0, now - before - _TICK / 1000 - (has_waited - waited)))
        before, waited = now, has_waited
        if over and not quitting:  # now that what was done last is booked
            quitting = True
            user.doing.append("quitting")
            QTimer.singleShot(0, done)  # while this goes on to tick
        if over:
            return
        try:
            next(scenario)
            return
        except StopIteration:
            modal = user.application.activeModalWidget()
            if modal is not None and QThread.currentThread().loopLevel() > 1:
                # VisTrails would be closed in the middle of what asks.
                user.seen["failure"] = f"the scenario is over, and this waits for an answer: {said(modal)}"
        except BaseException:
            user.seen["failure"] = traceback.format_exc()
        over = True

    timer.timeout.connect(tick)
    timer.start(_TICK)


def _waited_for_a_core() -> float:
    """For how many seconds this thread has had something to do and no core to do it, as others had them all."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # the kernel does not count it
        return 0.0


def run(
    folder: Path, somebody: type[User], scenario: Callable[[Any], Scenario], packages: Iterable[str] = PACKAGES
) -> dict[str, Any]:
    """Open the window, run a scenario, quit, and return what was seen.

    :param folder: where VisTrails' settings are, or are made
    :param somebody: who sits in front of the window
    :param scenario: what he does
    :param packages: those that are enabled, if the settings are made
    """
    from PyQt5.QtWidgets import QApplication
    from vistrails.gui import application as gui

    from host import vistrails_window

    users: list[User] = []
    raised: list[str] = []  # by Qt's callbacks, which have nobody to raise to
    hook = sys.excepthook

    def note(*error: Any) -> None:
        raised.append("".join(traceback.format_exception(*error)))
        hook(*error)

    def in_event_loop(application: Any) -> int:
        sys.excepthook = note
        user = somebody(application, folder)
        users.append(user)
        _drive(user, scenario(user), lambda: _quit(user))
        return int(QApplication.exec_())

    gui.VistrailsApplicationSingleton.exec_ = in_event_loop
    settings = folder / "settings"
    if not settings.exists():
        settings.mkdir()
        (settings / "startup.xml").write_text(startup(packages), encoding="utf-8")
    start = time.monotonic()
    vistrails_window.main([], settings)
    seen = users[0].seen
    seen["gaps"] = users[0].gaps
    seen["raised"] = raised
    seen["took"] = round(time.monotonic() - start, 1)
    return seen


def main(name: str, folder: Path) -> None:
    """Run the scenario of that name, and write down what was seen."""
    import editing  # beside this file, as are
    import exploring
    import scenarios

    scenario = next(getattr(each, name) for each in (scenarios, exploring, editing) if hasattr(each, name))
    seen = run(folder, User, scenario, vars(scenario).get("packages", PACKAGES))
    (folder / "seen.json").write_text(json.dumps(seen, indent=1), encoding="utf-8")
    os._exit(0)  # Python's own exit may end in a segmentation fault after a window was open


def startup(packages: Iterable[str]) -> str:
    """A start-up file that keeps VisTrails from asking anything, and enables only what a scenario needs."""
    quiet = {"handlerDontAsk": True, "installBundles": False, "singleInstance": False, "showSplash": False}
    keys = "".join(f'<key name="{name}"><bool value="{value}"/></key>' for name, value in quiet.items())
    enabled = "".join(f'<package name="{name}"/>' for name in packages)
    return (
        f'<startup version="0.1"><configuration>{keys}</configuration>'
        f"<packages>{enabled}</packages><disabledpackages/></startup>"
    )


def _quit(user: User) -> None:
    """Close VisTrails without its question about unsaved work."""
    controller = user.builder.get_current_controller()
    if controller is not None:
        controller.set_changed(False)
    modal = user.application.activeModalWidget()
    while "failure" in user.seen and modal is not None:  # Qt would try for ever to close VisTrails' own
        modal.hide()
        modal = user.application.activeModalWidget()
    user.builder.close()


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    main(sys.argv[1], Path(sys.argv[2]))
