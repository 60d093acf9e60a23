"""A user with a real mouse and a real keyboard, on an X server: pointer and keys are moved by xdotool."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from driver import User


class Hand(User):
    """A user with a mouse and a keyboard."""

    def __init__(self, application: Any, folder: Path) -> None:
        super().__init__(application, folder)
        self.pictures = Path(os.environ["PARALLELFLOW_PICTURES"])
        self.taken = 0

    def xdotool(self, *arguments: object) -> Generator[None, None, None]:
        """Have the pointer or the keyboard do something, and give the window a moment."""
        process = subprocess.Popen(["xdotool", *map(str, arguments)])
        yield from self.until(lambda: process.poll() is not None, "the end of xdotool")
        yield from self.moment(0.25)

    def moment(self, seconds: float) -> Generator[None, None, None]:
        """Let some time pass, as people do."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield

    def hit(self, widget: Any, place: Any = None) -> Generator[None, None, None]:
        """Move the pointer to a widget, or to a place in it, and click, once it is there to be seen."""
        place = place if place is not None else widget.rect().center()

        def in_sight() -> bool:
            there = self.application.widgetAt(widget.mapToGlobal(place))
            return there is not None and there.window() == widget.window()

        yield from self.until(in_sight, f"a free sight of {type(widget).__name__} {widget.objectName()}")
        point = widget.mapToGlobal(place)
        yield from self.xdotool("mousemove", point.x(), point.y(), "click", 1)

    def click_action(self, action: Any) -> Generator[None, None, None]:
        """Click an action's button in the tool bar."""
        from PyQt5.QtWidgets import QToolButton

        buttons = (each for each in self.builder.findChildren(QToolButton) if each.defaultAction() is action)
        yield from self.hit(next(buttons))

    def press_button(self, dialog: Any, name: str) -> Generator[None, None, None]:
        """Click a button of a dialog of ours."""
        from PyQt5.QtCore import QPoint
        from PyQt5.QtWidgets import QAbstractButton, QCheckBox, QRadioButton

        button = dialog.findChild(QAbstractButton, name)
        box = isinstance(button, (QCheckBox, QRadioButton))
        yield from self.hit(button, QPoint(8, button.height() // 2) if box else None)

    def pick_in_menu(self, menu: Any, action: Any) -> Generator[None, None, None]:
        """Open a menu of the menu bar, and choose an entry."""
        bar = self.builder.menuBar()
        yield from self.hit(bar, bar.actionGeometry(menu.menuAction()).center())
        yield from self.until(menu.isVisible, "the menu")
        yield from self.hit(menu, menu.actionGeometry(action).center())

    def drag(self, start: Any, end: Any) -> Generator[None, None, None]:
        """Press the button at one place of the screen, and let go at another."""
        yield from self.xdotool("mousemove", start.x(), start.y(), "mousedown", 1)
        for step in range(1, 11):
            point = start + (end - start) * step / 10
            yield from self.xdotool("mousemove", point.x(), point.y())
        yield from self.xdotool("mouseup", 1)

    def open_packages(self) -> Generator[None, None, Any]:
        """Open VisTrails' Preferences at its packages, and return that page."""
        action = self.builder.qactions["editPreferences"]
        menu = next(
            each for each in self.builder.menuBar().actions() if each.menu() and action in each.menu().actions()
        ).menu()
        yield from self.pick_in_menu(menu, action)
        dialog = self.builder.preferencesDialog
        yield from self.until(lambda: dialog.isVisible(), "Preferences")
        tabs = dialog._tab_widget.tabBar()
        yield from self.hit(tabs, tabs.tabRect(dialog._tab_widget.indexOf(dialog._packages_tab)).center())
        return dialog._packages_tab

    def choose_package(self, packages: Any, listed: Any) -> Generator[None, None, None]:
        """Click our package in one of the lists."""
        from PyQt5.QtCore import Qt

        (item,) = listed.findItems("ipyparallel_flow", Qt.MatchExactly)
        listed.scrollToItem(item)
        yield from self.hit(listed.viewport(), listed.visualItemRect(item).center())

    def pick(self, entry: str) -> Generator[None, None, None]:
        """Choose an entry of Packages > Parallel Flow."""
        bar = self.builder.menuBar()
        packages = self.builder.qmenus["packages"]
        yield from self.hit(bar, bar.actionGeometry(packages.menuAction()).center())
        yield from self.until(packages.isVisible, "the menu")
        ours = next(action for action in packages.actions() if action.text() == "Parallel Flow")
        yield from self.hit(packages, packages.actionGeometry(ours).center())
        yield from self.until(ours.menu().isVisible, "the submenu")
        if self.taken == 0:
            yield from self.photograph("menu")
        chosen = next(action for action in ours.menu().actions() if action.text() == entry)
        yield from self.hit(ours.menu(), ours.menu().actionGeometry(chosen).center())

    def photograph(self, name: str) -> Generator[None, None, None]:
        """Keep a picture of the whole screen."""
        yield from self.moment(0.4)
        self.taken += 1
        picture = self.application.primaryScreen().grabWindow(0)
        picture.save(str(self.pictures / f"{self.taken:02}-{name}.png"))

    def meet(self, kind: str, name: str) -> Generator[None, None, Any]:
        """Wait for a window, and photograph it."""
        dialog = yield from self.dialog(kind)
        yield from self.until(lambda: dialog.windowHandle().isExposed(), f"{kind} on the screen")
        yield from self.photograph(name)
        return dialog

    def escape(self, dialog: Any) -> Generator[None, None, None]:
        """Press Escape in a window, once it has the keyboard."""
        dialog.activateWindow()
        yield from self.until(dialog.isActiveWindow, "the keyboard for a window")
        yield from self.xdotool("key", "Escape")
        yield from self.gone(dialog)

    def okay(self, name: str) -> Generator[None, None, None]:
        """Wait for a message, photograph it, and press Enter."""
        message = yield from self.meet("Message", name)
        yield from self.until(message.isActiveWindow, "the keyboard for a message")
        yield from self.xdotool("key", "Return")
        yield from self.gone(message)
