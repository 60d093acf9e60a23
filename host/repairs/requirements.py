"""Packages that cannot be enabled here: they say in one sentence what they need, to the user and to engines.

Some of VisTrails' bundled packages are for libraries that nobody keeps any more, or for a window, which engines do not have.
"""

from __future__ import annotations

from host.repairs.edits import Edit, Repair

_NO_WINDOW = """
def package_requirements():
    from PyQt5.QtWidgets import QApplication
    from vistrails.core.requirements import MissingRequirement
    if QApplication.instance() is None:
        raise MissingRequirement("VisTrails' window")
"""

_NO_IPYTHON_PARALLEL = """
def package_requirements():
    from vistrails.core.requirements import MissingRequirement
    raise MissingRequirement(
        "IPython.parallel, which IPython has dropped (the package "
        "ipyparallel_flow takes this one's place)")
"""


def _requires(package: str, after: str, module: str) -> Edit:
    """An Edit that has a package say which module of Python it needs."""
    check = (
        "\n"
        "def package_requirements():\n"
        "    from vistrails.core.requirements import require_python_module\n"
        f"    require_python_module('{module}')\n"
    )
    return Edit(f"packages/{package}/__init__.py", after, after + check)


REPAIRS = (
    Repair(
        name="requirements: said in a sentence",
        since="any",
        reason="Preferences raised what it had just reported, and the user got a trace; a missing module was two words.",
        edits=(
            Edit(
                "gui/preferences.py",
                "                debug.critical(\"Initialization of package '%s' failed\" %\n"
                "                               codepath,\n"
                "                               e)\n"
                "                # Loading failed: reselect the item\n"
                "                self._available_packages_list.setCurrentItem(item)\n"
                "                raise\n",
                "                if isinstance(e, MissingRequirement):\n"
                "                    debug.critical(\"The package '%s' is not enabled: %s\" %\n"
                "                                   (codepath, e))\n"
                "                else:\n"
                "                    debug.critical(\"Initialization of package '%s' failed\" %\n"
                "                                   codepath,\n"
                "                                   e)\n"
                "                # Loading failed: reselect the item\n"
                "                self._available_packages_list.setCurrentItem(item)\n"
                "                return\n",
            ),
            Edit(
                "core/requirements.py",
                'return "Missing Requirement: %s" % self.requirement',
                'return "it needs %s, which is missing here" % self.requirement',
            ),
        ),
    ),
    Repair(
        name="requirements: libraries",
        since="any",
        reason="These packages did not say what they need, so that one without its library failed with a trace.",
        edits=(
            _requires("rpy", 'old_identifiers = ["edu.utah.sci.vistrails.rpy"]\n', "rpy2"),
            _requires("tej", "version = '0.2'\n", "tej"),
            _requires("persistence", "                                    debug=False)\n", "dulwich"),
            _requires(
                "gmaps",
                "            'org.vistrails.vistrails.spreadsheet']\n",
                "PyQt5.QtWebEngineWidgets",
            ),
            Edit(
                "packages/parallelflow/__init__.py",
                'version="0.1.1"\n',
                'version="0.1.1"\n' + _NO_IPYTHON_PARALLEL,
            ),
        ),
    ),
    Repair(
        name="requirements: a window",
        since="any",
        reason="Without VisTrails' window these packages ended the process, also that of an engine, by making a widget.",
        edits=(
            Edit(
                "packages/pythonCalcQt/__init__.py",
                "    return ['org.vistrails.vistrails.pythoncalc']\n",
                "    return ['org.vistrails.vistrails.pythoncalc']\n" + _NO_WINDOW,
            ),
            Edit(
                "packages/pipelineEdit/__init__.py",
                "old_identifiers = ['edu.utah.sci.vistrails.pipelineedit']\n",
                "old_identifiers = ['edu.utah.sci.vistrails.pipelineedit']\n" + _NO_WINDOW,
            ),
        ),
    ),
)
