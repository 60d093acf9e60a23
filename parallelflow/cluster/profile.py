"""IPython profiles: which there are, where they lie, and which of their files belong to a cluster.

A profile is a folder ``profile_<name>`` in IPython's folder (``~/.ipython``, or what ``IPYTHONDIR`` says). Its ``security``
folder holds the connection files, which contain the cluster's key, and ``log`` the processes' output.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from IPython.core.application import ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS
from IPython.core.profiledir import ProfileDir
from IPython.utils.path import get_xdg_dir
from traitlets.config.loader import Config, ConfigFileNotFound, JSONFileConfigLoader, PyFileConfigLoader

from parallelflow.texts import tr

from .errors import ConnectError, ProfileError

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\Z")
_PREFIX = "profile_"
PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


def ipython_dir() -> Path:
    """IPython's folder by IPython's rules, but it is not made: it need not exist.

    :returns: what ``IPYTHONDIR`` says, else ``~/.ipython``, else where the first versions of IPython had it
    """
    named = os.environ.get("IPYTHONDIR")
    if named is not None:
        return Path(os.path.normpath(os.path.expanduser(named)))
    place = Path(os.path.realpath(Path.home()), ".ipython")
    once = Path(get_xdg_dir() or place, "ipython")
    return once if once.is_dir() and not once.is_symlink() and not place.exists() else place


def profiles() -> list[str]:
    """The names of the profiles that exist, in alphabetical order."""
    try:
        names = [entry.name for entry in os.scandir(ipython_dir()) if entry.is_dir()]
    except OSError:
        return []
    return sorted(name[len(_PREFIX) :] for name in names if name.startswith(_PREFIX) and name != _PREFIX)


def folder_of(name: str) -> Path:
    """Where a profile's folder is, or would be.

    :param name: the profile's name
    """
    return ipython_dir() / (_PREFIX + name)


def check_name(name: str) -> None:
    """Refuse a name that cannot be a profile's.

    :param name: the name
    :raises ProfileError: for an empty name, or one with characters that IPython's folder names should not have
    """
    if not _NAME.match(name) or len(name) > 100:
        raise ProfileError(
            tr(
                "{name} cannot be the name of an IPython profile; use up to 100 letters, digits, '.', '_' and '-'.",
                name=repr(name),
            )
        )


def locate(name: str) -> Path:
    """The folder of a profile, with private ``security`` and ``log`` folders inside.

    The profile ``default`` is created if it does not exist, as IPython itself does.

    :param name: the profile's name
    :raises ProfileError: as for :func:`find`, or if those folders can be neither made nor made private
    """
    folder = find(name)
    if not folder.is_dir():
        return create(name)
    make_private(folder)
    return folder


def find(name: str) -> Path:
    """The folder of a profile as it is; that of ``default`` need not exist.

    :param name: the profile's name
    :raises ProfileError: if there is no such profile; the sentence names those that exist and how to make one
    """
    check_name(name)
    folder = folder_of(name)
    if not folder.is_dir() and name != "default":
        raise ProfileError(
            tr(
                "There is no IPython profile '{name}' in {folder} (profiles that exist: {known}). Choose another with"
                " Packages > Parallel Flow > Change profile, or make it there or in a terminal with:"
                " ipython profile create --parallel {name}",
                name=name,
                folder=ipython_dir(),
                known=", ".join(profiles()) or tr("none"),
            )
        )
    return folder


def create(name: str) -> Path:
    """Make a profile, readable by its owner only; one that exists is left as it is.

    :param name: the new profile's name
    :returns: its folder
    :raises ProfileError: if the name is not valid or the folder cannot be written
    """
    check_name(name)
    folder = folder_of(name)
    try:
        if not folder.is_dir():
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
            folder.chmod(PRIVATE_FOLDER)
            ProfileDir(location=str(folder))
            log.info("Made the IPython profile '%s' in %s", name, folder)
        make_private(folder)
    except OSError as error:
        raise ProfileError(
            tr(
                "The IPython profile '{name}' could not be made in {folder}: {reason}.",
                name=name,
                folder=folder,
                reason=error.strerror or error,
            )
        ) from error
    return folder


def make_private(folder: Path, make: bool = True) -> None:
    """See to it that a profile's ``security`` and ``log`` folders can be read by their owner only.

    :param folder: the profile's folder
    :param make: whether those that do not exist are made
    :raises ProfileError: if they can be neither made nor made private
    """
    for part in (security_dir(folder), log_dir(folder)):
        try:
            if make:
                part.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            if (make or part.exists()) and part.stat().st_mode & 0o077:
                part.chmod(PRIVATE_FOLDER)
        except OSError as error:
            raise ProfileError(
                tr(
                    "{folder} must be a folder that only you can read: {reason}.",
                    folder=part,
                    reason=error.strerror or error,
                )
            ) from error


def name_of(folder: Path) -> str:
    """A profile's name from its folder.

    :param folder: the profile's folder
    """
    return folder.name[len(_PREFIX) :] if folder.name.startswith(_PREFIX) else folder.name


def security_dir(folder: Path) -> Path:
    """Where a profile's connection files and our record lie.

    :param folder: the profile's folder
    """
    return folder / "security"


def log_dir(folder: Path) -> Path:
    """Where a profile's processes write their logs.

    :param folder: the profile's folder
    """
    return folder / "log"


def client_file(folder: Path, cluster_id: str = "") -> Path:
    """The connection file for clients; it exists while a controller runs.

    :param folder: the profile's folder
    :param cluster_id: which of the profile's clusters; '' is the one that ``ipcluster`` and we start, and
        ``ipyparallel.Cluster`` makes up another id each time
    """
    return _connection_file(folder, cluster_id, "client")


def engine_file(folder: Path, cluster_id: str = "") -> Path:
    """The connection file for engines.

    :param folder: the profile's folder
    :param cluster_id: as for :func:`client_file`
    """
    return _connection_file(folder, cluster_id, "engine")


def _connection_file(folder: Path, cluster_id: str, kind: str) -> Path:
    return security_dir(folder) / f"ipcontroller-{cluster_id}{'-' if cluster_id else ''}{kind}.json"


def read_connection_file(path: Path) -> dict[str, Any] | None:
    """What a connection file says.

    :param path: the file
    :returns: its content, or None if there is no such file
    :raises ConnectError: if it cannot be read or is not a connection file (``gone`` is True: no controller wrote that)
    """
    for attempt in range(10):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConnectError(
                tr("The connection file {path} cannot be read: {reason}.", path=path, reason=error.strerror)
            ) from error
        except ValueError:
            if attempt == 9:
                raise ConnectError(tr("The connection file {path} is damaged.", path=path), gone=True) from None
            time.sleep(0.05)  # its controller may just be writing it
        else:
            break
    if not isinstance(content, dict) or not {"interface", "registration", "location"} <= content.keys():
        raise ConnectError(tr("The connection file {path} is not one of ipyparallel.", path=path), gone=True)
    return content


def other_clusters(folder: Path) -> list[str]:
    """The ids, other than '', of the clusters that have a connection file for clients, the newest first.

    :param folder: the profile's folder
    """
    found: list[tuple[float, str]] = []
    for path in security_dir(folder).glob("ipcontroller-*-client.json"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path.name[len("ipcontroller-") : -len("-client.json")]))
    return [cluster_id for _, cluster_id in sorted(found, reverse=True)]


def cluster_file(folder: Path) -> Path:
    """The file by which ``ipcluster list`` and ``ipcluster stop`` know of a cluster.

    :param folder: the profile's folder
    """
    return security_dir(folder) / "cluster-.json"


def config(folder: Path, application: str) -> Config:
    """What the configuration of a profile, and the system's, say about one of ipyparallel's applications.

    :param folder: the profile's folder
    :param application: ``ipcontroller``, ``ipengine`` or ``ipcluster``
    :raises ProfileError: if a configuration file has an error in it
    """
    merged = Config()
    for place in (*reversed(SYSTEM_CONFIG_DIRS), *reversed(ENV_CONFIG_DIRS), str(folder)):
        for loader, suffix in ((PyFileConfigLoader, "py"), (JSONFileConfigLoader, "json")):
            path = Path(place) / f"{application}_config.{suffix}"
            try:
                merged.merge(loader(path.name, path=place).load_config())
            except ConfigFileNotFound:
                continue
            except Exception as error:
                raise ProfileError(
                    tr("{path} cannot be read: {reason}. Correct that file.", path=path, reason=error)
                ) from error
    return merged


def config_texts(folder: Path, application: str) -> Iterator[str]:
    """Give the texts of the files that :func:`config` reads, without running what is in them: it may be meant for another machine.

    :param folder: the profile's folder
    :param application: as there
    """
    for place in (*reversed(SYSTEM_CONFIG_DIRS), *reversed(ENV_CONFIG_DIRS), str(folder)):
        for suffix in ("py", "json"):
            with suppress(OSError):
                yield (Path(place) / f"{application}_config.{suffix}").read_text(encoding="utf-8", errors="replace")


def secrets(folder: Path) -> set[str]:
    """Every key in the profile's connection files, so that it can be kept out of messages.

    :param folder: the profile's folder
    """
    found: set[str] = set()
    for path in security_dir(folder).glob("ipcontroller-*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict):
            continue  # whoever wrote that, it holds no key of ours
        found.update(str(value) for name, value in content.items() if "key" in name and value)
    return found


def write_private(path: Path, text: str) -> None:
    """Write a file so that readers find the old text or the new, whole, and only the owner can read it.

    :param path: the file
    :param text: what is to be in it
    :raises OSError: if it cannot be written
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def fingerprint(info: Mapping[str, Any]) -> str:
    """Tell a controller from every other one, without giving its key away.

    :param info: a connection file's content
    """
    secret = f"{info.get('location')} {info['registration']} {info.get('key')}"
    return hashlib.sha256(secret.encode()).hexdigest()[:16]
