"""What each entry of the menu does: what is asked, what is done in the background, what is said in the end.

Actions are generators, see `flow`. Whatever can block is in a function that is handed to the background.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from PyQt5.QtWidgets import QMessageBox, QWidget
from vistrails.core.system import current_dot_vistrails

from parallelflow.cluster import profile as profiles
from parallelflow.cluster.cores import usable_cores
from parallelflow.cluster.errors import ClusterError, StartError
from parallelflow.cluster.session import Session
from parallelflow.cluster.state import ClusterState, ProfileState
from parallelflow.cluster.survey import survey
from parallelflow.cluster.waiting import Cancel, Progress
from parallelflow.gui import background, results_dialog, texts
from parallelflow.gui.background import Work
from parallelflow.gui.cleanup_dialog import CleanupDialog, Fate, LeaveProfileDialog, summary
from parallelflow.gui.dialog import Confirmation, FailureDialog, LogDialog, Message
from parallelflow.gui.flow import Action, Ask, Do
from parallelflow.gui.preferences import Preferences
from parallelflow.gui.preferences_dialog import PreferencesDialog
from parallelflow.gui.profile_dialog import ProfileDialog
from parallelflow.gui.shutdown_dialog import ShutdownDialog, engines_on_hosts, what_ends
from parallelflow.gui.start_dialog import StartDialog, StartState
from parallelflow.gui.texts import engines, tr, tr_count
from parallelflow.results.store import PLACE, Listed, Store

_LOG_BYTES = 2_000_000

Found = Generator[Ask | Do, Any, ClusterState]


class Actions:
    """The actions. What fails comes out of them as a ClusterError, which :meth:`report` shows.

    :param session: the session
    :param preferences: the preferences
    :param window: the window that dialogs belong to
    :param show_cluster: opens the cluster's window; None if it is open
    :ivar stays_connected: False after an action by which the user wanted to be disconnected, True after one for which he
        wanted a connection, else None
    """

    def __init__(
        self,
        session: Session,
        preferences: Preferences,
        window: QWidget | None,
        show_cluster: Callable[[], None] | None = None,
    ) -> None:
        self._session = session
        self._preferences = preferences
        self._window = window
        self._show_cluster = show_cluster
        self.stays_connected: bool | None = None

    # ------------------------------------------------------------ the five entries, and more

    def start_engines(self) -> Action:
        """Ask how many, start them, and say what runs then."""
        yield from self.follow_profile()
        title = tr("Start New Engine Processes")
        cluster = yield from self._look(title)
        here = yield Do(
            lambda progress, cancelled: self._session.starts_engines_here(),
            title,
            tr("Reading the configuration of the profile '{profile}'", profile=self._session.profile),
        )
        count = yield Ask(StartDialog(self._window, StartState(cluster, usable_cores(), here=here)))
        if count is None:
            return
        self.stays_connected = True
        started = yield Do(
            lambda progress, cancelled: self._session.start_engines(count, progress, cancelled),
            title,
            tr("Starting {engines}", engines=engines(count)),
            can_cancel=True,
        )
        now = yield from self._state(title)
        text = tr_count("%Ln engines were started.", "%Ln engine was started.", len(started))
        more = tr("Running now: {engines}.", engines=engines_on_hosts(now))
        buttons = [("show", tr("Show the &Cluster"))] if self._show_cluster is not None else []
        if (yield Ask(Message(self._window, text, more, buttons=buttons))) == "show" and self._show_cluster is not None:
            self._show_cluster()

    def stop_engines(self, ids: Sequence[int]) -> Action:
        """Stop some engines, after a confirmation.

        :param ids: the engines' numbers
        """
        title = tr("Stop Engines")
        text = tr_count(
            "Stop %Ln engines: {numbers}? What they compute for a Map is computed again elsewhere.",
            "Stop engine {numbers}? What it computes for a Map is computed again elsewhere.",
            len(ids),
            numbers=", ".join(str(number) for number in ids),
        )
        if (yield Ask(Confirmation(self._window, title, text, tr("&Stop")))) is None:
            return
        yield Do(
            lambda progress, cancelled: self._session.stop_engines(ids),
            title,
            tr("Stopping {engines}", engines=engines(len(ids))),
        )

    def change_profile(self) -> Action:
        """Ask for a profile, deal with what runs under the old one, and change."""
        yield from self.follow_profile()
        present = self._session.profile
        names = yield from self._names(tr("Change Profile"), present)
        dialog = ProfileDialog(self._window, present, [ProfileState(name) for name in names])
        look = background.run(lambda: survey(names))
        look.succeeded.connect(dialog.show_profiles)
        look.start()
        answer = yield Ask(dialog)
        if answer is None:
            return
        yield from self._change_to(answer.name, answer.new)

    def follow_profile(self) -> Action:
        """Change to the profile of the preferences, if it is another; who stays on the old one gets it back there."""
        old = self._session.profile
        if self._preferences.read().profile == old:
            return
        try:
            yield from self._change_to(self._preferences.read().profile)
        finally:
            if self._session.profile == old:
                self._preferences.write({"profile": old})

    def _change_to(self, name: str, new: bool = False) -> Action:
        title = tr("Change Profile")
        old = yield from self._state(title)
        if old.processes:
            fate = yield Ask(LeaveProfileDialog(self._window, old, name))
            if fate is None:
                return

        def change() -> None:
            if new:
                profiles.create(name)
            profiles.locate(name)  # before anything is stopped
            if old.processes and fate is Fate.LEAVE:
                self._session.let_go()
            elif old.processes:
                self._session.stop_started()
            self._session.change_profile(name)

        yield Do(lambda progress, cancelled: change(), title, tr("Changing to the profile '{name}'", name=name))
        self._preferences.write({"profile": name})
        self.stays_connected = True
        now = yield from self._look(title)
        text = tr("VisTrails now uses the profile '{name}'.", name=name)
        if now.connected:
            more = tr("It is connected to its cluster: {engines}.", engines=engines_on_hosts(now))
        else:
            more = tr("No cluster of it is running.")
        if old.processes and fate is Fate.LEAVE:
            left = tr("Left running under '{old}': {summary}.", old=old.profile, summary=summary(old.processes))
            more = f"{left}\n{more}"
        yield Ask(Message(self._window, text, more))

    def clean_up(self) -> Action:
        """Ask what becomes of what we started, do it, and say what happened."""
        yield from self.follow_profile()
        title = tr("Cleanup Started Processes")
        before = yield from self._look(title)
        if not before.processes and not before.connected:
            text = tr("There is nothing to clean up.")
            more = tr("VisTrails started no process that still runs, and is connected to no cluster.")
            yield Ask(Message(self._window, text, more))
            return
        fate = yield Ask(CleanupDialog(self._window, before))
        if fate is None:
            return
        stop = fate is Fate.STOP
        others = before.connected and not any(process.kind == "controller" for process in before.processes)
        # Where the controller was ours there is nothing left to be connected to.
        self.stays_connected = stop and not others
        yield Do(
            lambda progress, cancelled: self._stop_and_disconnect() if stop else self._session.let_go(),
            title,
            tr("Stopping {processes}", processes=texts.processes(len(before.processes)))
            if stop
            else tr("Disconnecting"),
        )
        what = summary(before.processes)
        disconnected = tr("VisTrails is disconnected from the cluster, which goes on running.")
        if not before.processes:
            yield Ask(Message(self._window, disconnected))
        elif stop:
            yield Ask(Message(self._window, tr("Stopped: {what}.", what=what), disconnected if others else ""))
        else:
            more = tr("Start VisTrails again, or choose one of this menu's entries, to use them.")
            yield Ask(Message(self._window, tr("Left running: {what}.", what=what), more))

    def _stop_and_disconnect(self) -> None:
        try:
            self._session.stop_started()
        finally:
            self._session.disconnect()

    def shut_down(self) -> Action:
        """Confirm, end the whole cluster, and say when it is done."""
        yield from self.follow_profile()
        title = tr("Request Cluster Shutdown")
        before = yield from self._look(title)
        if not before.connected and not before.processes:
            text = tr("No cluster is running for the profile '{profile}'.", profile=before.profile)
            yield Ask(Message(self._window, text, tr("There is nothing to shut down.")))
            return
        if (yield Ask(ShutdownDialog(self._window, before))) is None:
            return
        yield Do(
            lambda progress, cancelled: (
                self._session.shutdown_cluster() if before.connected else self._session.stop_started()
            ),
            title,
            tr("Waiting for {what} to end", what=what_ends(before)),
        )
        self.stays_connected = True
        text = tr("The cluster of the profile '{profile}' has been shut down.", profile=before.profile)
        yield Ask(Message(self._window, text, tr("Ended: {what}.", what=what_ends(before))))

    def change_preferences(self) -> Action:
        """Let the user change the preferences, and save them."""
        settings = self._preferences.read()
        names = yield from self._names(tr("Parallel Flow Preferences"), settings.profile, "default")
        changed = yield Ask(PreferencesDialog(self._window, settings, names, usable_cores()))
        if not changed:
            return
        profile = changed.pop("profile", None)
        self._preferences.write(changed)
        if profile is not None:
            yield from self._change_to(str(profile))

    def kept_results(self) -> Action:
        """Show what is kept of elements, and clear what is chosen, as long as the user goes on with that."""
        title = tr("Kept Results")
        store = Store(Path(current_dot_vistrails()) / PLACE, 0)
        while True:
            looking = tr("Looking what is kept in {folder}", folder=store.folder)
            listed: list[Listed] = yield Do(lambda progress, cancelled: store.listing(), title, looking, True, True)
            if not listed:
                yield Ask(Message(self._window, tr("No results are kept."), results_dialog.how()))
                return
            chosen: list[Listed] | None = yield Ask(
                results_dialog.ResultsDialog(self._window, listed, str(store.folder))
            )
            if not chosen:
                return
            yield Do(_clearing(store, chosen), title, tr("Clearing {what}", what=results_dialog.what(chosen)))

    # ------------------------------------------------------------ steps

    def _look(self, title: str) -> Found:
        """Connect if there is something to connect to, and return what there is.

        A controller that is damaged does not keep the user from dealing with what he started.
        """

        def look() -> ClusterState:
            try:
                self._session.connect()
            except ClusterError:
                if not self._session.state().processes:
                    raise
            return _settled(self._session)

        text = tr("Looking for the cluster of the profile '{profile}'", profile=self._session.profile)
        found: ClusterState = yield Do(lambda progress, cancelled: look(), title, text, can_cancel=True, harmless=True)
        return found

    def _state(self, title: str) -> Found:
        """Return what there is, as far as it is known without connecting."""
        found: ClusterState = yield Do(
            lambda progress, cancelled: _settled(self._session), title, tr("Looking at the cluster")
        )
        return found

    def _names(self, title: str, *more: str) -> Generator[Ask | Do, Any, list[str]]:
        """Return the profiles that exist, and some more."""
        found: list[str] = yield Do(
            lambda progress, cancelled: profiles.profiles(),
            title,
            tr("Looking for profiles"),
            can_cancel=True,
            harmless=True,
        )
        return sorted({*found, *more})

    # ------------------------------------------------------------ what went wrong

    def report(self, error: ClusterError) -> Action:
        """Show an error, with the end of a log and a way to the whole if there is one.

        :param error: what failed
        """
        if not isinstance(error, StartError) or not error.log_paths:
            yield Ask(Message(self._window, str(error), icon=QMessageBox.Icon.Warning))
            return
        several = len(error.logs) > 1
        if (yield Ask(FailureDialog(self._window, error.sentence, error.log_tail, several))) is not None:
            yield from self.show_log(*error.log_paths)

    def show_log(self, *paths: Path) -> Action:
        """Show whole logs.

        :param paths: where they lie, in one folder
        """
        where = paths[0] if len(paths) == 1 else paths[0].parent
        text = yield Do(
            lambda progress, cancelled: read_logs(*paths), tr("Log of a Process"), tr("Reading {path}", path=where)
        )
        yield Ask(LogDialog(self._window, where, text))


def _clearing(store: Store, chosen: Sequence[Listed]) -> Work:
    def clear(progress: Progress, cancelled: Cancel) -> None:
        try:
            store.clear(chosen)
        except OSError as error:
            raise ClusterError(
                tr("{path} cannot be removed: {reason}.", path=error.filename, reason=error.strerror)
            ) from error

    return clear


def _settled(session: Session) -> ClusterState:
    """A state in which engines have had a moment to say where they run."""
    state = session.state()
    return session.state() if any(not engine.host for engine in state.engines) else state


def read_logs(*paths: Path) -> str:
    """Return what :func:`read_log` does; of several logs one after the other, each below its name.

    :param paths: where they lie
    :raises ClusterError: as for :func:`read_log`
    """
    if len(paths) == 1:
        return read_log(paths[0])
    return "\n\n".join(f"{path.name}\n{'=' * len(path.name)}\n{read_log(path).rstrip()}" for path in paths)


def read_log(path: Path) -> str:
    """Return the end of a log, if it is very long, with connection keys blanked out.

    :param path: where it lies, in its profile's folder for logs
    :raises ClusterError: if it cannot be read
    """
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        raise ClusterError(tr("The log {path} cannot be read: {reason}.", path=path, reason=error.strerror)) from error
    for secret in profiles.secrets(path.parent.parent):
        text = text.replace(secret, "(key)")
    return text
