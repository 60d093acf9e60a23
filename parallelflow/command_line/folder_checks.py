"""Checks that everything can be written that a cluster needs, by trying, and that it belongs to the user.

Nothing is changed: what is written for a try has no name, and is gone when it is closed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from parallelflow.cluster import profile as profiles
from parallelflow.command_line.checks import FINE, WRONG, Check

with contextlib.suppress(ImportError):  # there is none on Windows
    import pwd

_BLOCK = bytes(4096)
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)  # the last two: an old kernel or file system


def folders(place: Path, vistrails: Path) -> Iterator[Check]:
    """Check the folders that processes write to.

    :param place: the profile's folder, which need not exist
    :param vistrails: VisTrails' folder for what belongs to the user
    """
    security = profiles.security_dir(place)
    wanted = [
        ("IPython's folder", profiles.ipython_dir()),
        ("The profile's folder", place),
        ("The folder of keys and records", security),
        ("The folder of logs", profiles.log_dir(place)),
        ("VisTrails' folder", vistrails),
        ("The folder for temporary files", _temporary()),
    ]
    problems: dict[tuple[str, str], Check] = {}
    for what, folder in wanted:
        missing, problem, advice = _folder(folder)
        if problem:
            # The same may be wrong with several: with a home that is missing, or a disk that is full.
            problems.setdefault((problem, advice), Check("Folders", WRONG, f"{what}: {missing}{problem}.", advice))
    for path in (security / "parallelflow.lock", security / "parallelflow-start.lock", security / "parallelflow.json"):
        problem, advice = _file(path)
        if problem:
            problems[problem, advice] = Check("Folders", WRONG, f"{problem}.", advice)
    yield from problems.values()
    if not problems:
        yield Check("Folders", FINE, "all that must be written belongs to you and can be written.")


def _temporary() -> Path:
    named = next((os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)), None)
    return Path(named or tempfile.gettempdir())


def _folder(folder: Path) -> tuple[str, str, str]:
    """Whether a folder is missing, what is wrong with it or the one that it would be made in, and what to do; '' if nothing is."""
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        try:
            existing.parent.stat()
        except PermissionError:
            break
        except OSError:
            pass
        existing = existing.parent
    missing = f"{folder} does not exist, and " if existing != folder else ""
    problem, advice = _existing(existing, bool(missing))
    return missing, problem, advice


def _existing(folder: Path, to_make: bool) -> tuple[str, str]:
    """What is wrong with a folder that exists, and what to do.

    :param folder: the folder
    :param to_make: whether another one is to be made in it; it may then belong to somebody else
    """
    try:
        status = folder.stat()
    except OSError as error:
        return f"{folder} cannot be looked at: {error.strerror}", _give(folder)
    quoted = shlex.quote(str(folder))
    if not folder.is_dir():
        return f"{folder} is not a folder", f"Move it away: mv {quoted} somewhere-else"
    problem = _try_to_write(folder)
    common = bool(status.st_mode & stat.S_ISVTX)  # as /tmp
    if status.st_uid != os.geteuid() and (problem or not to_make) and not common:
        return f"{folder} belongs to {_user(status.st_uid)}, not to you", _give(folder)
    if not problem:
        return "", ""
    if problem in (errno.EACCES, errno.EPERM):
        advice = f"Let yourself write: chmod u+rwx {quoted}"
    elif problem in (errno.ENOSPC, errno.EDQUOT):
        advice = "Make room on that disk."
    else:
        advice = "Have it mounted so that you can write, or choose another folder with HOME, IPYTHONDIR or TMPDIR."
    return f"nothing can be written to {folder}: {os.strerror(problem)}", advice


def _file(path: Path) -> tuple[str, str]:
    """The same for a file that is opened to be written, if there is one."""
    with suppress(OSError):
        status = path.lstat()
        if status.st_uid != os.geteuid():
            return f"{path} belongs to {_user(status.st_uid)}, not to you", _give(path)
        if not os.access(path, os.R_OK | os.W_OK):
            return f"{path} cannot be written", f"Let yourself read and write: chmod u+rw {shlex.quote(str(path))}"
    return "", ""


def _try_to_write(folder: Path) -> int:
    """Write to a folder, and return the number of the error, or 0."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        if error.errno not in _NO_NAMELESS_FILES:
            return error.errno or errno.EIO
        if not os.access(folder, os.W_OK | os.X_OK):
            return errno.EACCES
        room = os.statvfs(folder)
        return errno.EROFS if room.f_flag & os.ST_RDONLY else 0 if room.f_bavail else errno.ENOSPC
    try:
        os.write(descriptor, _BLOCK)
        os.fsync(descriptor)
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(descriptor)
    return 0


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _give(path: Path) -> str:
    return f"Have it given to you, as root: chown -R {_user(os.geteuid())} {shlex.quote(str(path))}"
