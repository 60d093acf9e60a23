"""The project's virtual environment: its steps, and what makes them safe to repeat and to interrupt.

A stamp in the environment says what it was made from. While that is true there is nothing to do. The stamp says
"unfinished" until the last step is done, so an environment that was interrupted half-way is known as such, and is made
anew; one that is whole but out of date is updated; one without a stamp is somebody else's, and is left alone.

What is large and needed by nobody who runs headless (VTK and the like) is installed if asked for, and then stays. So do the
tools that test, check and document the project, which are left out where it is only run: they double the time that it takes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

from host import SetupError, debian, repairs, vistrails_window, wheel

with contextlib.suppress(ImportError):  # there is none on Windows
    import fcntl

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "host"

_TO_RUN = "demo"
_TO_DEVELOP = "dev,docs,bench"
_STAMP = "made-by-host"
_UNFINISHED = "unfinished\n"
_VISUAL = "with what is large\n"
_TOOLS = "with the tools\n"

# Starts Qt, imports what VisTrails' window cannot do without, and looks for this project the way VisTrails does.
_CHECK = """
import PyQt5.QtOpenGL, PyQt5.QtSvg, PyQt5.QtWidgets, qtconsole, vistrails.core.application
from pkg_resources import iter_entry_points
application = PyQt5.QtWidgets.QApplication([])
names = [point.module_name for point in iter_entry_points("vistrails.packages")]
assert "parallelflow.ipyparallel_flow" in names, "VisTrails would not find this project's entry point"
"""

# Reads the ports of VTK's classes, as VisTrails' package `vtk` does at a user's first start, unless the same was read before.
_PORTS = """
import hashlib, importlib.metadata, importlib.util, pathlib, sys
folder = pathlib.Path(importlib.util.find_spec("vistrails").origin).parent / "packages" / "vtk"
made_from = hashlib.sha256(importlib.metadata.version("vtk").encode())
for source in sorted([folder / "identifiers.py", *(folder / "vtk_wrapper").glob("*.py")]):
    made_from.update(source.read_bytes())
stamp = folder / "ports-made-from"
if stamp.exists() and stamp.read_text() == made_from.hexdigest() and [*folder.glob("vtk-*-spec-*.xml")]:
    sys.exit()
import vtk, vistrails.core.application
from vistrails.packages.vtk.identifiers import version
from vistrails.packages.vtk.vtk_wrapper.parse import parse
number = vtk.vtkVersion().GetVTKVersion().replace(".", "_")
parse(str(folder / "unfinished"))
(folder / "unfinished").replace(folder / f"vtk-{number}-spec-{version.replace('.', '_')}.xml")
stamp.write_text(made_from.hexdigest())
"""

# No program imports other packages' tests, which are much of all that there is to compile.
_NOT_COMPILED = r"site-packages[/\\].*[/\\]tests?[/\\]"


def main(arguments: Sequence[str]) -> int:
    """Make or update the environment.

    :param arguments: what follows ``python -m host``
    :returns: the exit status: 0, 1 if it could not be done, 130 if it was interrupted
    :raises SystemExit: by argparse, with code 2 if it cannot be understood, 0 after ``--help``
    """
    parser = argparse.ArgumentParser(prog="python -m host", description="Make the project's virtual environment.")
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / ".venv")
    parser.add_argument(
        "--visual", action="store_true", help="install what VisTrails' cells and bundled packages are for"
    )
    parser.add_argument(
        "--without-tools", action="store_true", help="leave out what tests, checks and documents the project"
    )
    parser.add_argument("--vistrails", type=Path, metavar="FILE", help="Debian's package of VisTrails, if you have it")
    given = parser.parse_args(arguments)
    try:
        note = setup(
            given.directory.absolute(), visual=given.visual, tools=not given.without_tools, package=given.vistrails
        )
    except (SetupError, OSError) as error:
        print(f"make setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make setup: interrupted; the next 'make setup' starts where it has to", file=sys.stderr)
        return 130
    if note:
        print(f"make setup: {note}", file=sys.stderr)
    return 0


def setup(directory: Path, *, visual: bool = False, tools: bool = True, package: Path | None = None) -> str:
    """Make the environment, or bring it up to date, or find that there is nothing to do.

    :param directory: the environment's folder
    :param visual: whether what is large is wanted, too
    :param tools: whether the tools that test, check and document the project are
    :param package: the file of Debian's VisTrails package, if the user has it
    :returns: a sentence for the user if the system lacks something that a window needs, else ""
    :raises SetupError: if it cannot be made, does not work, or `directory` is somebody else's
    """
    with _lock():
        vistrails_window.prepare(vistrails_window.SETTINGS)
        stamp = directory / _STAMP
        visual, tools = visual or _VISUAL in _reads(stamp), tools or _TOOLS in _reads(stamp)
        if tools:
            _daemons()
        note = _system_libraries(visual)
        fingerprint = _fingerprint(directory, visual, tools)
        if _reads(stamp) == fingerprint and _python(directory).exists():
            return note
        if importlib.util.find_spec("ensurepip") is None:
            raise SetupError(
                f"{sys.executable} cannot make virtual environments: it has no 'ensurepip'."
                " On Debian, install python3-venv as root: apt-get install python3-venv"
            )
        # Beside each other, because on a fresh clone each takes some seconds: VisTrails' wheel, and what it is installed into.
        with ThreadPoolExecutor(1) as thread:
            vistrails = _vistrails_wheel(thread, package)
            if not _is_whole(directory, fingerprint):
                _make_anew(directory)
            stamp.write_text(_UNFINISHED, encoding="utf-8")
            _install_builder(directory)
        _install(directory, vistrails.result(), visual, tools)
        try:
            if visual:
                _read_ports(directory)
            _check(directory)
        except SetupError as error:
            raise SetupError(f"{error}\n{note}".strip()) from None
        stamp.write_text(fingerprint, encoding="utf-8")
        return note


# ---- whether there is anything to do ----


def _fingerprint(directory: Path, visual: bool = False, tools: bool = True) -> str:
    """Which Python and place the environment is tied to; a hash of all that it is made from; what else it has."""
    content = hashlib.sha256()
    for source in [*sorted((ROOT / "host").rglob("*.py")), ROOT / "setup.py"]:
        content.update(f"{source.relative_to(ROOT)}\n".encode() + source.read_bytes())
    package = (ROOT / "parallelflow" / "__init__.py").read_text(encoding="utf-8").splitlines()
    content.update("".join(line for line in package if line.startswith("__version__")).encode())  # setup.py reads it
    constraint = os.environ.get("PIP_CONSTRAINT")  # which pip obeys: the oldest dependencies, for instance
    if constraint:
        content.update(_reads(Path(constraint)).encode())
    version = ".".join(map(str, sys.version_info[:3]))
    place = f"Python {version} from {sys.base_prefix} in {directory} for {ROOT}"
    return f"{place}\n{content.hexdigest()}\n{_VISUAL * visual}{_TOOLS * tools}"


def _reads(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


def _is_whole(directory: Path, fingerprint: str) -> bool:
    """Whether the environment was finished, here and with this Python, though perhaps from other sources."""
    return (
        _reads(directory / _STAMP).partition("\n")[0] == fingerprint.partition("\n")[0] and _python(directory).exists()
    )


def _python(directory: Path) -> Path:
    return directory / "bin" / "python"


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Hold the clone's lock: two setups at once would write to the same files.

    What a setup runs inherits the lock, so that it is held until a pip that outlives a killed setup has ended, too.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="utf-8") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another 'make setup' to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ---- the steps ----


def _system_libraries(visual: bool = False) -> str:
    """Install what is missing on the system, or else return the sentence that says how."""
    needs = debian.NEEDS + debian.VISUAL_NEEDS * visual
    missing = debian.missing(needs)
    failure = _install_packages(missing)
    missing = debian.missing(needs)
    if not missing:
        return ""
    things = ", ".join(need.what for need in missing)
    command = " ".join(debian.install_command(missing))
    return f"{failure}VisTrails' window, and the tests that open one, lack {things}; as root, run: {command}"


def _daemons() -> None:
    """Install what tests start as daemons of their own. Only root can run these tests; others skip them and say so."""
    if os.geteuid() == 0:
        failure = _install_packages(debian.missing(debian.DAEMONS))
        if failure:
            _say(f"{failure.strip()} The tests on machines with daemons of their own are skipped.")


def _install_packages(missing: Sequence[debian.Need]) -> str:
    """Install Debian packages, if that can be done.

    :returns: a line that says why it failed, or ""
    """
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        _say("installing Debian packages: " + " ".join(sorted({need.package for need in missing})))
        try:
            debian.install(missing)
        except SetupError as error:
            return f"{error}\n"
    return ""


def _vistrails_wheel(thread: Executor, given: Path | None = None) -> Future[Path]:
    """Return the repaired VisTrails' wheel, which is kept under the hash of the code that made it.

    :param thread: where it is made, if there is none yet; what stops that on another machine is noticed before
    """
    modules = [debian, wheel, repairs, repairs.edits, *repairs.GROUPS]
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)
    target = CACHE / hashlib.sha256(code).hexdigest()[:16] / wheel.NAME

    def make(package: Path) -> Path:
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            tree = debian.unpack(package, Path(scratch))
            repairs.apply(tree / "vistrails")
            target.parent.mkdir(exist_ok=True)
            wheel.build(tree, target)
        return target

    if target.exists():
        return thread.submit(lambda: target)
    _say(f"preparing VisTrails from Debian's {debian.FILE}")
    return thread.submit(make, debian.fetch(CACHE, given))


def _make_anew(directory: Path) -> None:
    if directory.exists():
        if any(directory.iterdir()) and not (directory / _STAMP).exists():
            raise SetupError(
                f"{directory} was not made by 'make setup'; move it away, or name another place with VENV=."
            )
        shutil.rmtree(directory)
    _say(f"making a virtual environment in {directory}")
    directory.mkdir(parents=True)
    (directory / _STAMP).write_text(_UNFINISHED, encoding="utf-8")
    base = getattr(sys, "_base_executable", sys.executable)  # this Python may be the environment that was just deleted
    _run([base, "-m", "venv", str(directory)], "could not make a virtual environment")


def _install_builder(directory: Path) -> None:
    """Install what builds the project: the environment's own setuptools, which saves downloading another one to do it."""
    _say("installing VisTrails, this project and their dependencies from Python's package registry")
    _pip(directory, "setuptools", "setuptools>=70.1,<80.9")


def _install(directory: Path, vistrails: Path, visual: bool, tools: bool) -> None:
    # The same version number may hold other repairs than the installed one.
    _pip(directory, "VisTrails", "--no-deps", "--force-reinstall", str(vistrails))
    project = f"{ROOT}[{_TO_DEVELOP if tools else _TO_RUN}]"
    host = "vistrails[visual]==3.0" if visual else "vistrails==3.0"
    _pip(directory, "the dependencies", "--no-build-isolation", host, "--editable", project)
    # What pip would do on one core. Some packages hold files that are not Python.
    with contextlib.suppress(SetupError):
        compiled = [str(_python(directory)), "-m", "compileall", "-q", "-j", "0", "-x", _NOT_COMPILED]
        _run([*compiled, str(directory / "lib")], "could not compile all")


def _pip(directory: Path, what: str, *arguments: str) -> None:
    pip = [str(_python(directory)), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile"]
    _run(
        [*pip, *arguments],
        f"pip could not install {what}; is there a network, and a package registry that pip can reach?",
    )


def _read_ports(directory: Path) -> None:
    _say("reading the ports of VTK's classes")
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "QT_QPA_PLATFORM": "offscreen"}
        _run([str(_python(directory)), "-W", "ignore", "-c", _PORTS], "VTK does not work", environment)


def _check(directory: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "QT_QPA_PLATFORM": "offscreen"}
        _run([str(_python(directory)), "-c", _CHECK], "the new environment does not work", environment)


def _run(command: Sequence[str], failure: str, environment: dict[str, str] | None = None) -> None:
    result = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, close_fds=False
    )
    if result.returncode:
        lines = (result.stdout + result.stderr).strip().splitlines() or [f"exit status {result.returncode}"]
        errors = [line for line in lines if line.startswith("ERROR:")]
        raise SetupError(f"{failure}\n  " + "\n  ".join(errors or lines[-3:]))


def _say(what: str) -> None:
    print(f"make setup: {what}", flush=True)
