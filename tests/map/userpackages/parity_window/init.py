"""Modules that tell in which process they have run. None opens a window: tests have none."""

import functools
import os

from PyQt5 import QtCore, QtWidgets
from vistrails.core.modules.basic_modules import Constant
from vistrails.core.modules.config import IPort, OPort
from vistrails.core.modules.output_modules import OutputMode, OutputModeConfig, OutputModule
from vistrails.core.modules.vistrails_module import Module


class Tells(Module):
    """Needs no window, although its file imports what does."""

    _input_ports = [IPort("value", "basic:Integer"), IPort("chosen", "basic:Boolean")]
    _output_ports = [OPort("value", "basic:List")]

    def compute(self):
        self.look()
        self.set_output("value", [self.get_input("value"), os.getpid()])

    def look(self):
        """Nothing to look at."""


class Asks(Tells):
    def look(self):
        self.any = QtWidgets.QApplication.instance() is not None


class AsksFurther(Asks):
    """Inherits it."""


class AsksByHelper(Tells):
    def look(self):
        from .asking import has_application

        has_application()


class AsksLate(Tells):
    def look(self):
        from PyQt5.QtWidgets import QApplication

        self.inner(lambda: QApplication.instance())

    def inner(self, look):
        look()


class Pumps(Tells):
    def look(self):
        QtCore.QCoreApplication.processEvents()


class Controls(Tells):
    def look(self):
        self.controller = self.moduleInfo["controller"]


class Says(Tells):
    """Uses something that cannot be found in its code."""

    needs_window = True


class SaysNot(Asks):
    """Could do without."""

    needs_window = False


class Stubborn:
    """Answers no questions about itself."""

    def __getattr__(self, name):
        raise RuntimeError(name)


STUBBORN = Stubborn()


def noted(function):
    @functools.wraps(function)
    def note(self):
        self.noted = True
        return function(self)

    return note


class Wrapped(Tells):
    """Has Qt inside of a decorator, in a file whose other functions have none."""

    @noted
    def look(self):
        QtWidgets.QApplication.instance()


class Looks(Tells):
    """Uses objects and functions of all kinds."""

    def look(self):
        assert type(STUBBORN) is Stubborn
        functools.partial(os.getpid)()
        self.rounded = round(1.5)


class Dates(Tells):
    """Uses Qt, but no windows."""

    def look(self):
        QtCore.QDate(2020, 2, 29)


class Picked(Constant):
    """Has a widget for its port, as constants do."""

    @staticmethod
    def get_widget_class():
        return QtWidgets.QWidget

    @staticmethod
    def translate_to_python(text):
        return text


class ShownConfig(OutputModeConfig):
    mode_type = "shown"


class Shown(OutputMode):
    """Shows in a window, where there is one."""

    mode_type = "shown"
    priority = 9
    config_cls = ShownConfig
    possible = False

    @classmethod
    def can_compute(cls):
        return cls.possible

    def compute_output(self, module, configuration):
        QtWidgets.QApplication.instance()
        module.set_output("value", [module.get_input("value"), os.getpid()])


class QuietConfig(OutputModeConfig):
    mode_type = "quiet"


class Quiet(OutputMode):
    """Shows nothing."""

    mode_type = "quiet"
    priority = 1
    config_cls = QuietConfig

    @staticmethod
    def can_compute():
        return True

    def compute_output(self, module, configuration):
        module.set_output("value", [module.get_input("value"), os.getpid()])


class Shows(OutputModule):
    _output_ports = [OPort("value", "basic:List")]
    _output_modes = [Shown, Quiet]


_modules = [
    Tells,
    Wrapped,
    Looks,
    Asks,
    AsksFurther,
    AsksByHelper,
    AsksLate,
    Pumps,
    Controls,
    Says,
    SaysNot,
    Dates,
    Picked,
    Shows,
]
