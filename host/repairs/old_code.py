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

_OPEN_FOR_FILE = """\
def open_for_file(code):
    # Python 2's file(name), which lib2to3 leaves; not a method, an argument or a function of that name.
    import io, tokenize
    tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    lines = code.splitlines(True)
    for before, token, after in reversed(list(zip(tokens, tokens[1:], tokens[2:]))):
        if token.string == 'file' and token.type == tokenize.NAME:
            if before.string in ('def', 'class', 'import', 'as', 'for') or after.string in ('=', ',', 'in'):
                return code  # a name of its own
            if after.string == '(' and before.string != '.':
                (row, start), (_, end) = token.start, token.end
                lines[row - 1] = lines[row - 1][:start] + 'open' + lines[row - 1][end:]
    return ''.join(lines)


"""

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
        name="Python 2's file()",
        since="Python 3.0",
        reason="lib2to3 does not know it.",
        edits=(
            Edit(
                "core/modules/basic_modules.py",
                "            new_code = str(node3)\n",
                "            new_code = open_for_file(str(node3))\n",
            ),
            Edit(
                "core/modules/basic_modules.py",
                "def src2to3(controller, name):\n",
                _OPEN_FOR_FILE + "def src2to3(controller, name):\n",
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
