"""Code in the workflows of older versions of VisTrails, which was written for Python 2."""

from __future__ import annotations

from host.repairs.edits import Edit, Repair

_NOT_CONVERTED = """\
        except Exception as e:
            debug.warning("The Python 2 code of a %s was not converted: %s; "
                          "correct it where it is not Python 3" % (
                          new_module.name, debug.format_exception(e)))
        src = urllib.parse.quote(code)

        new_function"""

REPAIRS = (
    Repair(
        name="Python 2 code of old workflows",
        since="any",
        reason=(
            "lib2to3 does not take carriage returns. The code was stored without its quoting, so that '%02d' became a control"
            " character. What could not be converted was not mentioned."
        ),
        edits=(
            Edit(
                "core/modules/basic_modules.py",
                "            if code[-1] != '\\n':\n                code += '\\n'\n",
                "            code = '\\n'.join(code.splitlines()) + '\\n'\n",
            ),
            Edit(
                "core/modules/basic_modules.py",
                "        except:\n            pass\n        src = urllib.parse.unquote(code)\n\n        new_function",
                _NOT_CONVERTED,
            ),
        ),
    ),
    Repair(
        name="lib2to3",
        since="Python 3.13",
        reason="lib2to3 is gone; fissix is what became of it.",
        edits=(
            Edit(
                "core/modules/basic_modules.py",
                "            from lib2to3.refactor import RefactoringTool,\\\n"
                "                                         get_fixers_from_package\n",
                "            try:\n"
                "                import lib2to3 as converter\n"
                "                from lib2to3.refactor import RefactoringTool,\\\n"
                "                                             get_fixers_from_package\n"
                "            except ImportError:\n"
                "                import fissix as converter\n"
                "                from fissix.refactor import RefactoringTool,\\\n"
                "                                            get_fixers_from_package\n",
            ),
            Edit(
                "core/modules/basic_modules.py",
                "get_fixers_from_package('lib2to3.fixes')",
                "get_fixers_from_package(converter.__name__ + '.fixes')",
            ),
        ),
    ),
)
