"""What Debian's VisTrails needs changed to run on Python 3.10 and later: a table, and the function that applies it.

A repair holds only the few words that it replaces. Its text must be found exactly as often as the table says, in each
file that the table names: a VisTrails other than the one these repairs were made for stops the setup instead of failing
later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host import SetupError


@dataclass(frozen=True)
class Edit:
    """One replacement: `find` (text, or a pattern) becomes `put`, `times` in all.

    `files` is a path below the package ``vistrails``, or a glob; each file that it matches must hold the text.
    """

    files: str
    find: str | re.Pattern[str]
    put: str
    times: int = 1


@dataclass(frozen=True)
class Repair:
    """One thing that is wrong, why, and `since` which Python; "any" if no version of Python is to blame."""

    name: str
    since: str
    reason: str
    edits: tuple[Edit, ...]


_COLOR = re.compile(r"(?<!int\()float\(color\[\d\]\)\*255")
_GETCHILDREN = re.compile(r"\b(\w+)\.getchildren\(\)")

REPAIRS = (
    Repair(
        name="outputs of a Group",
        since="any",
        reason="Debian's patch turned `is not` into `==`, so that a Group delivers None on every port.",
        edits=(Edit("core/modules/sub_module.py", "if oport_name == 'self':", "if oport_name != 'self':"),),
    ),
    Repair(
        name="getchildren",
        since="3.9",
        reason="xml.etree's Element.getchildren() is gone; an element is its own list of children.",
        edits=(
            Edit("db/versions/v0_8_0/persistence/xml/auto_gen.py", _GETCHILDREN, r"list(\1)", times=14),
            Edit("db/versions/v0_9_[01345]/persistence/xml/auto_gen.py", _GETCHILDREN, r"list(\1)", times=77),
            Edit("db/versions/v1_*/persistence/xml/auto_gen.py", _GETCHILDREN, r"list(\1)", times=228),
            Edit("core/db/locator.py", _GETCHILDREN, r"list(\1)"),
            Edit("core/recent_vistrails.py", _GETCHILDREN, r"list(\1)"),
            Edit("core/system/osx.py", _GETCHILDREN, r"list(\1)", times=2),
            Edit("db/services/locator.py", _GETCHILDREN, r"list(\1)", times=3),
            Edit("gui/application_server.py", _GETCHILDREN, r"list(\1)", times=2),
            Edit("packages/matplotlib/diff.py", _GETCHILDREN, r"list(\1)", times=4),
            Edit("packages/matplotlib/specs.py", _GETCHILDREN, r"list(\1)", times=5),
            Edit("packages/vtk/tf_widget.py", _GETCHILDREN, r"list(\1)", times=2),
            Edit("packages/vtk/vtk_wrapper/specs.py", _GETCHILDREN, r"list(\1)", times=2),
        ),
    ),
    Repair(
        name="abstract base classes",
        since="3.10",
        reason="collections no longer has the abstract base classes of collections.abc.",
        edits=(
            Edit("core/modules/module_registry.py", "import collections\n", "import collections.abc\n"),
            Edit("core/modules/module_registry.py", "collections.Sequence", "collections.abc.Sequence"),
            Edit("core/utils/__init__.py", "isinstance(args[0], collections.Callable)", "callable(args[0])"),
        ),
    ),
    Repair(
        name="whole numbers for Qt",
        since="3.10",
        reason="PyQt5 no longer turns a float into an int where Qt takes an int.",
        edits=(
            Edit("gui/theme.py", "poly.setPoint(2, w, h/2)", "poly.setPoint(2, w, h//2)"),
            Edit("gui/module_palette.py", "QtCore.QPoint(pixmap.width()/2,", "QtCore.QPoint(pixmap.width()//2,"),
            Edit("gui/module_palette.py", "pixmap.height()/2))", "pixmap.height()//2))"),
            Edit("gui/module_palette.py", "QtCore.QRect(r.left() + i / 2,", "QtCore.QRect(r.left() + i // 2,"),
            Edit("gui/module_palette.py", "r.top() + (r.height() - i) / 2,", "r.top() + (r.height() - i) // 2,"),
            Edit("gui/module_palette.py", "r.width() - ((5 * i) / 2),", "r.width() - ((5 * i) // 2),"),
            Edit(
                "gui/pipeline_view.py",
                "setMaximumSize(MAX_WIDTH/SCALE, MAX_WIDTH/SCALE)",
                "setMaximumSize(int(MAX_WIDTH/SCALE), int(MAX_WIDTH/SCALE))",
            ),
            Edit(
                "gui/pipeline_view.py",
                "mapToScene(self.width()/2.0, self.height()/2.0)",
                "mapToScene(self.width()//2, self.height()//2)",
            ),
            Edit(
                "packages/spreadsheet/spreadsheet_sheet.py",
                "self.resizeSection(self.logicalIndex(i), size)",
                "self.resizeSection(self.logicalIndex(i), int(size))",
                times=2,
            ),
            Edit("gui/modules/constant_configuration.py", _COLOR, r"int(\g<0>)", times=3),
            Edit("gui/modules/paramexplore.py", _COLOR, r"int(\g<0>)", times=3),
            Edit("gui/modules/paramexplore.py", "r,g,b = (0.0, 0.0, 0.0)", "r,g,b = (0, 0, 0)"),
            Edit(
                "packages/spreadsheet/spreadsheet_sheet.py",
                "QColor(0.8549*255, 0.6971*255, 0.2255*255)",
                "QColor.fromRgbF(0.8549, 0.6971, 0.2255)",
            ),
        ),
    ),
    Repair(
        name="editors without QScintilla",
        since="any",
        reason="The editors of PythonSource and String take keyword arguments only, and got their parent without one.",
        edits=(
            Edit(
                "gui/modules/python_source_configure.py",
                "return OldPythonEditor(parent)",
                "return OldPythonEditor(parent=parent)",
            ),
            Edit(
                "gui/modules/string_configure.py", "return OldTextEditor(parent)", "return OldTextEditor(parent=parent)"
            ),
        ),
    ),
    Repair(
        name="captured warnings",
        since="3.11",
        reason="logging no longer hands over a captured warning as the record's first argument.",
        edits=(Edit("core/debug.py", "record.args[0]", "record.getMessage()", times=2),),
    ),
    Repair(
        name="export of subworkflows",
        since="3.12",
        reason="The module imp is gone; importlib loads a package from its folder.",
        edits=(
            Edit("gui/vistrail_controller.py", "            import imp\n", "            import importlib.util\n"),
            Edit(
                "gui/vistrail_controller.py",
                re.compile(
                    r"\(file, pathname, description\) = .*?imp\.find_module\(.*?"
                    r"module = imp\.load_module\(.*?pathname, description\)",
                    re.DOTALL,
                ),
                "spec = importlib.util.spec_from_file_location(\n"
                "                    os.path.basename(dir_name), os.path.join(dir_name, '__init__.py'))\n"
                "                module = importlib.util.module_from_spec(spec)\n"
                "                spec.loader.exec_module(module)",
            ),
        ),
    ),
    Repair(
        name="imports of lazy modules",
        since="any",
        reason="Watching imports, VisTrails asked numpy 2 for a submodule that was being imported, without end.",
        edits=(
            Edit(
                "core/modules/package.py",
                "mod = getattr(mod, comp)\n"
                "                    checked_add_package(mod.__name__, mod)\n"
                "                except AttributeError:",
                "mod = vars(mod)[comp]\n"
                "                    checked_add_package(mod.__name__, mod)\n"
                "                except (AttributeError, KeyError):",
            ),
        ),
    ),
    Repair(
        name="imports of namespace packages",
        since="3.7",
        reason="Watching imports, VisTrails asked for the place of a package that has no file, such as one inside scipy 1.15.",
        edits=(
            Edit(
                "core/modules/package.py",
                "pkg_fname = pkg.__file__\n            except AttributeError:",
                "pkg_fname = os.fspath(pkg.__file__)\n            except (AttributeError, TypeError):",
            ),
        ),
    ),
    Repair(
        name="Python 2's names",
        since="any",
        reason="Python 3 lacks these names: the workspace's search and the fields inside a module raised.",
        edits=(
            Edit("gui/collection/workspace.py", "xrange(", "range("),
            Edit("gui/pipeline_view.py", "string.lowercase", "string.ascii_lowercase"),
        ),
    ),
    Repair(
        name="palette button features",
        since="any",
        reason="PyQt5 names the enum value None_, so every paint of the module palette raised.",
        edits=(
            Edit(
                "gui/module_palette.py",
                "getattr(QtWidgets.QStyleOptionButton, 'None')",
                "QtWidgets.QStyleOptionButton.None_",
            ),
        ),
    ),
    Repair(
        name="html.escape",
        since="3.8",
        reason="cgi.escape is gone, and from 3.13 so is cgi; html.escape does the same.",
        edits=(
            Edit("gui/debug.py", "import cgi\n", "import html\n"),
            Edit("gui/debug.py", "cgi.escape(", "html.escape("),
            Edit("core/api.py", "import cgi\n", "import html\n", times=2),
            Edit("core/api.py", "cgi.escape(", "html.escape(", times=4),
        ),
    ),
    Repair(
        name="name of the Linux distribution",
        since="3.8",
        reason="platform.linux_distribution is gone; /etc/os-release has the name.",
        edits=(
            Edit(
                "gui/bundles/utils.py",
                "def _guess_ubuntu():\n"
                "    return platform.linux_distribution()[0]=='Ubuntu' or \\\n"
                "           platform.linux_distribution()[0]=='LinuxMint'\n",
                "def _os_release_id():\n"
                "    try:\n"
                "        return platform.freedesktop_os_release()['ID']\n"
                "    except OSError:\n"
                "        return ''\n"
                "\n"
                "def _guess_ubuntu():\n"
                "    return _os_release_id() in ('ubuntu', 'linuxmint')\n",
            ),
            Edit(
                "gui/bundles/utils.py",
                "platform.linux_distribution()[0].lower() == 'debian'",
                "_os_release_id() == 'debian'",
            ),
        ),
    ),
    Repair(
        name="sip inside PyQt5",
        since="any",
        reason="PyQt5's wheels bring sip as PyQt5.sip, so VisTrails took PyQt5 for missing.",
        edits=(Edit("gui/requirements.py", "require_python_module('sip')", "require_python_module('PyQt5.sip')"),),
    ),
    Repair(
        name="lives of mashup windows",
        since="any",
        reason=(
            "Only Python's cyclic garbage holds a mashup's window once it is closed, and PyQt5 reads and writes memory that is"
            " free already when that is collected before Qt has deleted the window: glibc then ends VisTrails."
        ),
        edits=(
            Edit(
                "gui/version_prop.py",
                "from PyQt5 import QtCore, QtGui, QtWidgets\n",
                "from PyQt5 import QtCore, QtGui, QtWidgets, sip\n",
            ),
            Edit("gui/version_prop.py", "self.apps = {}\n", "self.apps, self.living = {}, []\n"),
            Edit(
                "gui/version_prop.py",
                "        app.appWasClosed.connect(",
                "        self.living = [each for each in self.living if not sip.isdeleted(each)] + [app]\n"
                "        self.living[-1].appWasClosed.connect(",
            ),
        ),
    ),
    Repair(
        name="exception's text",
        since="any",
        reason="Python 3's exceptions have no attribute `message`.",
        edits=(Edit("gui/application.py", "e.message)", "e)"),),
    ),
)


def apply(package: Path, repairs: Sequence[Repair] = REPAIRS) -> None:
    """Apply repairs to the unpacked Python package ``vistrails``.

    :param package: its folder
    :param repairs: the table
    :raises SetupError: if a text is not there as often as a repair says; names the repair and the file
    """
    for repair in repairs:
        for edit in repair.edits:
            _replace(package, repair.name, edit)


def _replace(package: Path, name: str, edit: Edit) -> None:
    pattern = re.compile(re.escape(edit.find)) if isinstance(edit.find, str) else edit.find
    put = edit.put.replace("\\", r"\\") if isinstance(edit.find, str) else edit.put
    files = sorted(package.glob(edit.files))
    if not files:
        raise _misfit(name, edit.files, "has no such file")
    found = 0
    for file in files:
        text, count = pattern.subn(put, _read(file))
        if not count:
            raise _misfit(name, file.relative_to(package), f"does not have the text {pattern.pattern!r} there")
        file.write_bytes(text.encode())
        found += count
    if found != edit.times:
        raise _misfit(name, edit.files, f"has the text {pattern.pattern!r} {found} times there, not {edit.times}")


def _read(file: Path) -> str:
    return file.read_bytes().decode()  # as it is: read_text() would change line ends


def _misfit(name: str, file: object, what: str) -> SetupError:
    return SetupError(
        f"The repair '{name}' does not fit: this VisTrails {what} (vistrails/{file})."
        " It is not the version that the table in host/repairs.py was made for."
    )
