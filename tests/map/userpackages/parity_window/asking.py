"""What asks the user, for modules that import it where they need it."""

from PyQt5 import QtWidgets


def has_application():
    """Say whether there is an application that could ask."""
    return QtWidgets.QApplication.instance() is not None
