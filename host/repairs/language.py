"""What later versions of Python, and of the libraries that every VisTrails needs, have taken away or changed."""

from __future__ import annotations

import re

from host.repairs.edits import Edit, Repair

_GETCHILDREN = re.compile(r"\b(\w+)\.getchildren\(\)")

REPAIRS = (
    Repair(
        name="getchildren",
        since="Python 3.9",
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
        since="Python 3.10",
        reason="collections no longer has the abstract base classes of collections.abc.",
        edits=(
            Edit("core/modules/module_registry.py", "import collections\n", "import collections.abc\n"),
            Edit("core/modules/module_registry.py", "collections.Sequence", "collections.abc.Sequence"),
            Edit("core/utils/__init__.py", "isinstance(args[0], collections.Callable)", "callable(args[0])"),
        ),
    ),
    Repair(
        name="captured warnings",
        since="Python 3.11",
        reason="logging no longer hands over a captured warning as the record's first argument.",
        edits=(Edit("core/debug.py", "record.args[0]", "record.getMessage()", times=2),),
    ),
    Repair(
        name="export of subworkflows",
        since="Python 3.12",
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
        since="Python 3.7",
        reason=(
            "Watching imports, VisTrails asked for the place of a package that has no file, such as one inside"
            " scipy 1.15."
        ),
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
        name="html.escape",
        since="Python 3.8",
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
        since="Python 3.8",
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
        name="exceptions' text",
        since="any",
        reason="Python 3's exceptions have no attribute `message`.",
        edits=(
            Edit("gui/application.py", "e.message)", "e)"),
            Edit("packages/persistent_archive/common.py", "e.message)", "str(e))"),
            Edit("packages/tabledata/convert/convert_dates.py", "e.message)", "str(e))", times=2),
            Edit("packages/tabledata/operations.py", "e.message)", "str(e))"),
        ),
    ),
    Repair(
        name="workflow layout",
        since="any",
        reason="list.sort takes a key, not a comparison.",
        edits=(
            Edit(
                "core/layout/workflow_layout.py",
                "modules.sort(lambda a,b: a.layout_layer_index - b.layout_layer_index)",
                "modules.sort(key=lambda a: a.layout_layer_index)",
                times=2,
            ),
        ),
    ),
    Repair(
        name="hashes of locators",
        since="any",
        reason=(
            "A class with __eq__ has no __hash__ in Python 3 unless it says so; the application without a window"
            " keeps files by their locator."
        ),
        edits=(
            Edit(
                "core/db/locator.py",
                re.compile(
                    r"(?<!\.__hash__\n\n)(?=    def __eq__\(self, other\):\n"
                    r"        if not isinstance\(other, (XML|ZIP)FileLocator\))"
                ),
                r"    __hash__ = _\1FileLocator.__hash__\n\n",
                times=2,
            ),
            Edit(
                "core/db/locator.py",
                "    def __eq__(self, other):\n        if type(other) != type(self):",
                "    __hash__ = _DBLocator.__hash__\n"
                "\n"
                "    def __eq__(self, other):\n"
                "        if type(other) != type(self):",
            ),
            Edit(
                "db/services/locator.py",
                re.compile(
                    r"(?<!\.__hash__\n\n)(?=    def __eq__\(self, other\):\n"
                    r"        if (not isinstance\(other, (XML|ZIP)FileLocator\)|type\(other\) != type\(self\)):\n"
                    r"            return False\n        return \(?self\._(name|host))"
                ),
                "    __hash__ = BaseLocator.__hash__\n\n",
                times=3,
            ),
        ),
    ),
    Repair(
        name="StandardOutput of a file",
        since="any",
        reason="A file's bytes were written to sys.stdout.",
        edits=(
            Edit(
                "core/modules/basic_modules.py",
                "                fp = open(v.name, 'rb')\n            except IOError:\n                print(v)\n",
                "                fp = open(v.name, errors='replace')\n"
                "            except IOError:\n"
                "                print(v)\n",
            ),
        ),
    ),
)
