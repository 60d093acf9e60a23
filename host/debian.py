"""What comes from Debian: VisTrails itself, and the system libraries that Qt's wheels take for granted.

VisTrails' package is downloaded and unpacked, not installed: its 215 dependencies are not wanted, and nothing of it
needs root.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import lzma
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from host import SetupError

RELEASE = "bookworm"
VERSION = "3.0~git+9dc22bd.dfsg.1-1.1"
FILE = f"vistrails_{VERSION}_all.deb"
SHA256 = "0bf66ab386df30d2b36ba325beb36cd7c695ff390598b89aa19c0e553f998441"


def fetch(folder: Path, given: Path | None = None) -> Path:
    """Download VisTrails' Debian package, unless it is there already or the user has it.

    :param folder: where it is kept
    :param given: the file, as the user has downloaded it
    :returns: its path
    :raises SetupError: if this machine lacks apt, or the file is not that package
    """
    package = folder / FILE
    if given is not None:
        _keep(given, package)
    elif not _is_whole(package):
        if shutil.which("apt-get") is None:
            raise SetupError(
                f"VisTrails comes from Debian 12 ({RELEASE}), but this machine has no 'apt-get'. Download {FILE}, from Debian's"
                " pool or another machine, and name it: make setup VISTRAILS=the-file."
            )
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            os.replace(_download(Path(scratch)), package)
    return package


def _keep(given: Path, package: Path) -> None:
    """Copy the user's file to its place, whole or not at all."""
    if not given.is_file():
        raise SetupError(f"VISTRAILS={given}: there is no such file.")
    if not _is_whole(given):
        raise SetupError(
            f"VISTRAILS={given} is not Debian's {FILE}: its SHA-256 is not {SHA256}. Download it again, in that version."
        )
    with tempfile.TemporaryDirectory(dir=package.parent) as scratch:
        os.replace(shutil.copy(given, scratch), package)


def unpack(package: Path, target: Path) -> Path:
    """Unpack the Debian package, which is an `ar` archive that holds a tar archive of the files.

    Formats: https://manpages.debian.org/bookworm/dpkg-dev/deb.5.en.html

    :param package: what `fetch` returned
    :param target: the folder that it is unpacked below
    :returns: the folder that holds the Python packages
    :raises SetupError: if it is damaged
    """
    try:
        with open(package, "rb") as file, tarfile.open(fileobj=_member(file, "data.tar"), mode="r:*") as archive:
            # Links in it point into other packages' folders, which are not wanted.
            members = [member for member in archive if member.isfile() or member.isdir()]
            archive.extractall(target, members, **_SAFELY)
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError) as error:
        raise SetupError(f"{package} cannot be unpacked: {error}") from error
    return target / "usr/lib/python3/dist-packages"


# Whatever an archive says, its files stay below the target; older Pythons lack the argument.
_SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def _member(file: BinaryIO, name: str) -> BinaryIO:
    """Return the first member of an `ar` archive whose name begins so.

    :raises ValueError: if it is none, is damaged, or has no such member
    """
    if file.read(8) != b"!<arch>\n":
        raise ValueError("it is no Debian package")
    while header := file.read(60):
        if len(header) < 60 or header[58:] != b"`\n":
            raise ValueError("it is damaged")
        size = int(header[48:58])
        if header[:16].decode("ascii", "replace").startswith(name):
            return io.BytesIO(file.read(size))
        file.seek(size + size % 2, os.SEEK_CUR)  # members begin at even places
    raise ValueError(f"it has no {name}")


def _is_whole(package: Path) -> bool:
    return package.exists() and hashlib.sha256(package.read_bytes()).hexdigest() == SHA256


def _download(folder: Path) -> Path:
    command = ["download", f"vistrails={VERSION}"]
    result = _apt_get(command, cwd=folder)
    if result.returncode:
        # The system's package lists are missing or too old. Refreshing those would need root, so use lists of our own.
        private = _private_lists(folder / "apt")
        update = _apt_get([*private, "update"])
        result = _apt_get([*private, *command], cwd=folder)
        if result.returncode:
            codename = _os_release().get("VERSION_CODENAME")
            if codename != RELEASE:
                advice = f"Only Debian 12 ({RELEASE}) has that version, and this machine runs {_system_name()}."
            else:
                advice = "Is there a network, and are Debian's own sources in /etc/apt?"
            reason = _reason(update if "Failed to fetch" in update.stderr else result)
            raise SetupError(f"apt-get could not download vistrails {VERSION} ({reason}). {advice}")
    package = next(folder.glob("vistrails_*.deb"))
    if not _is_whole(package):
        raise SetupError(f"apt-get downloaded a vistrails {VERSION} whose SHA-256 is not {SHA256}; not using it.")
    return package


def _private_lists(folder: Path) -> list[str]:
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    # Dir::State also moves dpkg's status file; without one, apt refuses to work.
    (folder / "state/status").touch()
    options = {
        "Dir::State": "state",
        "Dir::State::lists": "state/lists",
        "Dir::State::status": "state/status",
        "Dir::Cache": "cache",
    }
    return [f"-o{key}={folder / value}" for key, value in options.items()]


# ---- system libraries ----


@dataclass(frozen=True)
class Need:
    """Something that PyQt5's wheels or the tests take from the system, and Debian's package that has it.

    `what` is a library's soname, a program's name or a pattern of font files.
    """

    what: str
    package: str
    is_there: Callable[[str], bool]


def _library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _program(name: str) -> bool:
    return shutil.which(name) is not None


def _daemon(name: str) -> bool:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is not None


def _font(pattern: str) -> bool:
    return any(Path("/usr/share/fonts").rglob(pattern))


# From ldd on PyQt5's modules that VisTrails imports and on the platform plugins `offscreen` and `xcb`.
NEEDS = (
    Need("libGL.so.1", "libgl1", _library),
    Need("libfontconfig.so.1", "libfontconfig1", _library),
    Need("libfreetype.so.6", "libfreetype6", _library),
    Need("libgthread-2.0.so.0", "libglib2.0-0", _library),
    Need("libX11.so.6", "libx11-6", _library),
    Need("*.[ot]tf", "fonts-dejavu-core", _font),
    Need("libEGL.so.1", "libegl1", _library),
    Need("libX11-xcb.so.1", "libx11-xcb1", _library),
    Need("libdbus-1.so.3", "libdbus-1-3", _library),
    Need("libxcb-glx.so.0", "libxcb-glx0", _library),
    Need("libxcb-icccm.so.4", "libxcb-icccm4", _library),
    Need("libxcb-image.so.0", "libxcb-image0", _library),
    Need("libxcb-keysyms.so.1", "libxcb-keysyms1", _library),
    Need("libxcb-randr.so.0", "libxcb-randr0", _library),
    Need("libxcb-render-util.so.0", "libxcb-render-util0", _library),
    Need("libxcb-render.so.0", "libxcb-render0", _library),
    Need("libxcb-shape.so.0", "libxcb-shape0", _library),
    Need("libxcb-shm.so.0", "libxcb-shm0", _library),
    Need("libxcb-sync.so.1", "libxcb-sync1", _library),
    Need("libxcb-util.so.1", "libxcb-util1", _library),
    Need("libxcb-xfixes.so.0", "libxcb-xfixes0", _library),
    Need("libxcb-xinerama.so.0", "libxcb-xinerama0", _library),
    Need("libxcb-xkb.so.1", "libxcb-xkb1", _library),
    Need("libxkbcommon-x11.so.0", "libxkbcommon-x11-0", _library),
    Need("libxkbcommon.so.0", "libxkbcommon0", _library),
    Need("Xvfb", "xvfb", _program),
)

# The same for what VTK's and PyQtWebEngine's wheels link to besides; Xvfb draws VTK's cells with the last library.
VISUAL_NEEDS = (
    Need("libXcomposite.so.1", "libxcomposite1", _library),
    Need("libXdamage.so.1", "libxdamage1", _library),
    Need("libXrandr.so.2", "libxrandr2", _library),
    Need("libXrender.so.1", "libxrender1", _library),
    Need("libXtst.so.6", "libxtst6", _library),
    Need("libasound.so.2", "libasound2", _library),
    Need("libexpat.so.1", "libexpat1", _library),
    Need("libnss3.so", "libnss3", _library),
    Need("libnspr4.so", "libnspr4", _library),
    Need("libGLX_mesa.so.0", "libglx-mesa0", _library),
    Need("convert", "imagemagick", _program),  # what VisTrails' package ImageMagick runs
)

# What the tests on machines with daemons of their own start, as root only.
DAEMONS = (
    Need("sshd", "openssh-server", _daemon),
    Need("ssh", "openssh-client", _program),
    Need("ip", "iproute2", _daemon),
    Need("munged", "munge", _daemon),
    Need("slurmctld", "slurm-wlm", _daemon),
    Need("sbatch", "slurm-wlm", _program),
)


def missing(needs: Sequence[Need]) -> list[Need]:
    """Return what is missing; the thing itself is looked for, so that it counts wherever it comes from.

    :param needs: what is looked for: `NEEDS`, `VISUAL_NEEDS` or `DAEMONS`
    """
    return [need for need in needs if not need.is_there(need.what)]


def install_command(needs: Sequence[Need]) -> list[str]:
    """Return the one command that, as root, installs what is missing.

    :param needs: what is missing
    :returns: the program and its arguments
    """
    return ["apt-get", "install", "--yes", "--no-install-recommends", *sorted({need.package for need in needs})]


def install(needs: Sequence[Need]) -> None:
    """Install what is missing; must run as root.

    :param needs: what is missing
    :raises SetupError: if apt-get cannot
    """
    command = install_command(needs)[1:]
    result = _apt_get(command)
    if result.returncode:  # the system's package lists are missing or too old
        _apt_get(["update"])
        result = _apt_get(command)
    if result.returncode:
        raise SetupError(f"'apt-get {' '.join(command)}' failed: {_reason(result)}")


def _apt_get(arguments: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # APT::Sandbox::User: apt's own user may not write where we download to.
    # DPkg::Lock::Timeout: on a machine that has just started, its own updater may hold apt's lock for a moment.
    options = ["-oAPT::Sandbox::User=root", "-oDPkg::Lock::Timeout=120", "--quiet=2"]
    return _run(["apt-get", *options, *arguments], cwd=cwd)


def _run(command: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"there is no '{command[0]}' on this machine")


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    """The line in which apt or dpkg says why it failed; its other lines repeat that, or are about something else."""
    lines = (result.stderr.strip() or result.stdout.strip() or f"exit status {result.returncode}").splitlines()
    telling = [line for line in lines if line.startswith(("E: ", "W: Failed to fetch", "dpkg-deb: error: "))]
    return (telling or lines)[0].strip()


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _system_name() -> str:
    return _os_release().get("PRETTY_NAME") or platform.system()
