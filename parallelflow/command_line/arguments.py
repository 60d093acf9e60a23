"""What may be typed after ``python -m parallelflow``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parallelflow import __version__

_MOST_ENGINES = 10_000  # as `parallelflow.cluster.settings` has it, which is loaded late


@dataclass(frozen=True)
class Arguments:
    """What was typed.

    :param command: the subcommand
    :param json: whether programs read the answer
    :param profile: the IPython profile; None: the one of VisTrails' preferences, or, to ``profiles``, all
    :param vistrails: VisTrails' folder for what belongs to the user
    :param engines: how many engines to start; None: as many as the preferences say
    :param everything: whether to stop what others have started as well
    :param file: the vistrail whose exploration is run
    :param exploration: its name or number, or its version's tag; None: the only one
    :param folder: where output modules write; None: where VisTrails' preferences say
    :param tries: whether to start an engine on each machine to see what it lacks
    :param action: to ``results``: ``list`` or ``clear``
    :param workflow: to ``results``: only those of this workflow
    :param target: to ``convert``: the file to write; ``file`` is the one to read
    :param serial: to ``convert``: whether Maps become Control Flow's
    :param versions: to ``convert``: which versions, by tag or number; none means all
    :param each: to ``convert``: whether to say it version by version
    """

    command: str
    json: bool
    vistrails: Path
    profile: str | None = None
    engines: int | None = None
    everything: bool = False
    tries: bool = False
    action: str = ""
    workflow: str | None = None
    file: Path | None = None
    exploration: str | None = None
    folder: Path | None = None
    target: Path | None = None
    serial: bool = False
    versions: tuple[str, ...] = ()
    each: bool = False


_EXIT_CODES = """\
exit codes:
  0    all is well
  1    something is wrong, or could not be done; a sentence on standard error says what, in JSON also as the value of error
  2    the command line is not right
  130  interrupted
"""

_MAIN = f"""\
examples:
  python -m parallelflow enable            switch the package on in VisTrails
  python -m parallelflow doctor            find out why something does not work
  python -m parallelflow start -n 8        start a cluster of 8 engines that VisTrails will use
  python -m parallelflow status            look at it
  python -m parallelflow stop              stop it
  python -m parallelflow results list      see which results of elements are kept
  python -m parallelflow explore a.vt      run the parameter exploration of a vistrail
  python -m parallelflow convert a.vt b.vt make the Maps of a vistrail parallel

{_EXIT_CODES}"""

_STATUS = f"""\
examples:
  python -m parallelflow status
  python -m parallelflow status --profile hpc --json

JSON: profile, connected, lost, controller (url, host, pid, started_by, since, encrypted, here: whether that is this
machine), engines (id, uuid, host, pid, ours, state, tasks_done, tasks_queued, cpu_percent, memory, since, here), unassigned (tasks
that wait for an engine), processes
(what of it is on record as started by Parallel Flow: kind, pid, host, since, log_path, stuck (why it could not be stopped, or
null), and fate: "left running", "of a running VisTrails", "of a VisTrails that is gone" or "could not be stopped"). Times are in
seconds since 1970, memory is in bytes, what is not known is null.

{_EXIT_CODES}  1    also where no cluster is running"""

_START = f"""\
The processes run on when this command has ended. VisTrails finds them, uses them and can stop them; so can
"python -m parallelflow stop" and "ipcluster stop". If a controller is running already, the engines join it.

examples:
  python -m parallelflow start             as many engines as the preferences say, or as there are cores for it
  python -m parallelflow start -n 4
  python -m parallelflow start -n 64 --profile slurm

JSON: profile, engines (the new engines' numbers), running (how many engines there are now), lacking (sentences on
machines on which none could be started, though on others some were).

{_EXIT_CODES}"""

_STOP = f"""\
Stops what "start" has started, and what VisTrails has left running, or left behind when it crashed or was killed. With --all,
also engines and a controller that were started in any other way, such as by ipcluster or by a VisTrails that is still running.

examples:
  python -m parallelflow stop
  python -m parallelflow stop --all --profile hpc

JSON: profile, stopped (how many processes or jobs; null with --all).

{_EXIT_CODES}"""

_FORGET = f"""\
What could not be stopped, on a machine that is gone for instance, stays on record: it prevents nothing, and stopping it is tried
again at each start and stop. This lets go of it; look for what may still run by other means.

examples:
  python -m parallelflow forget
  python -m parallelflow forget --profile office --json

JSON: profile, forgotten (how many processes or jobs).

{_EXIT_CODES}"""

_PROFILES = f"""\
examples:
  python -m parallelflow profiles
  python -m parallelflow profiles --json

JSON: profiles, each with name, running (null where the controller's machine does not tell from here), location (the
controller's machine), used (whether VisTrails uses it).

{_EXIT_CODES}"""

_DOCTOR = f"""\
examples:
  python -m parallelflow doctor
  python -m parallelflow doctor --profile hpc --json
  python -m parallelflow doctor --profile hpc --try      also start one engine on each machine, and stop it again

JSON: healthy, and checks, each with what, result (fine, note or wrong), finding, and advice.

{_EXIT_CODES}"""

_ENABLE = f"""\
Close VisTrails first: it writes its settings when it ends.

examples:
  python -m parallelflow enable
  python -m parallelflow enable --profile hpc      also make VisTrails use this profile
  python -m parallelflow enable --vistrails-dir /data/me/.vistrails

JSON: file, changes (sentences), backup (the old file, or null).

{_EXIT_CODES}"""

_RESULTS = f"""\
Results of elements are kept as the preference keep_results says. A Map that is running goes on without those that are cleared.

examples:
  python -m parallelflow results list
  python -m parallelflow results clear --workflow sweep.vt
  python -m parallelflow results clear --json

JSON: folder, and, after list, kept, for each workflow and Map: workflow, map, results (how many), bytes, since (when the first was
kept), used (when one was last used); after clear, cleared (how many results) and bytes. Times are in seconds since 1970.

{_EXIT_CODES}"""


_EXPLORE = f"""\
Executes each cell as VisTrails does, with what is above its cells and output modules run on engines. Where no cluster is running,
one is started and stopped again. Output modules write what they write; the log of the cells is saved in the file.

examples:
  python -m parallelflow explore terrain.vt
  python -m parallelflow explore terrain.vt --exploration "six heights" --output-directory results

After Ctrl-C the cells that are done are there: their files, their log, and in the table.

JSON: exploration, cells, each with column, row, sheet, parameters, engine, host, seconds (on the engine), kept (whether that part
was taken from kept results) and error (null where there is none), and error (why it could not go on, or null).

{_EXIT_CODES}  1    also where a cell has failed"""


_CONVERT = f"""\
Map, Filter and For of Control Flow become those of Parallel Flow, also in Groups, in every version that has a tag or ends a branch.
Each gets a new version, to which its tag, its notes and its parameter explorations go; what was there before stays in the history.

examples:
  python -m parallelflow convert old.vt new.vt
  python -m parallelflow convert --each old.vt new.vt                say it version by version
  python -m parallelflow convert --only final --only 27 old.vt new.vt
  python -m parallelflow convert --serial new.vt old.vt              the other way round

JSON: file, and versions, each with version, tag, new (its new version's number), changed (name, id and groups of each loop), left
(loops in subworkflows, which stay).

{_EXIT_CODES}"""

_PROFILE = "the IPython profile (default: VisTrails' preference)"
_PROFILE_TO_USE = "the IPython profile that VisTrails is to use (default: leave it as it is)"


def parse(words: Sequence[str]) -> Arguments:
    """Understand what was typed.

    :param words: what follows ``python -m parallelflow``
    :returns: what it means, with defaults for what was not typed
    :raises SystemExit: with code 2 where it makes no sense, 0 after ``--help`` or ``--version``
    """
    typed = _parser().parse_args(words)
    return Arguments(
        command=typed.command,
        json=typed.json,
        vistrails=typed.vistrails,
        profile=typed.profile,
        engines=getattr(typed, "engines", None),
        everything=getattr(typed, "everything", False),
        tries=getattr(typed, "tries", False),
        action=getattr(typed, "action", ""),
        workflow=getattr(typed, "workflow", None),
        target=getattr(typed, "target", None),
        serial=getattr(typed, "serial", False),
        versions=tuple(getattr(typed, "versions", ())),
        each=getattr(typed, "each", False),
        file=getattr(typed, "file", None),
        exploration=getattr(typed, "exploration", None),
        folder=getattr(typed, "folder", None),
    )


def _parser() -> argparse.ArgumentParser:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m parallelflow",
        description="Parallel Flow for VisTrails, in a terminal.",
        epilog=_MAIN,
        formatter_class=kind,
    )
    parser.add_argument("--version", action="version", version=f"Parallel Flow {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, what: str, epilog: str, profile: str = _PROFILE) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=f"{what}.", epilog=epilog, formatter_class=kind)
        added.add_argument("--json", action="store_true", help="answer with one JSON object")
        added.add_argument("--profile", metavar="NAME", help=profile)
        added.add_argument(
            "--vistrails-dir",
            "--vistrails",
            dest="vistrails",
            metavar="FOLDER",
            type=_path,
            default=Path.home() / ".vistrails",
            help="VisTrails' folder for your settings (default: ~/.vistrails)",
        )
        return added

    command("status", "Show the controller, the engines, and what was left running", _STATUS)
    start = command("start", "Start engines, and a controller if there is none", _START)
    start.add_argument("-n", dest="engines", metavar="N", type=_count, help="how many engines")
    stop = command("stop", "Stop what was started", _STOP)
    stop.add_argument("--all", dest="everything", action="store_true", help="the whole cluster, whoever started it")
    command("forget", "Let go of what could not be stopped", _FORGET)
    command("profiles", "List the IPython profiles, and which have a cluster", _PROFILES, "only this one")
    doctor = command("doctor", "Check everything, and say what is wrong and what to do", _DOCTOR)
    doctor.add_argument(
        "--try", dest="tries", action="store_true", help="start one engine on each machine, and say what it lacks"
    )
    results = command("results", "List or clear the results of elements that are kept", _RESULTS)
    results.add_argument("action", choices=("list", "clear"), help="what to do")
    results.add_argument("--workflow", metavar="NAME", help="only those of this workflow, as list shows its name")
    command("enable", "Switch the package on in VisTrails, and the bundled one off", _ENABLE, _PROFILE_TO_USE)
    explore = command("explore", "Run a parameter exploration, and print a table of its cells", _EXPLORE)
    explore.add_argument("file", metavar="FILE.vt", type=_path, help="the vistrail")
    explore.add_argument(
        "--exploration", metavar="NAME", help="its name or number, or its version's tag (default: the only one)"
    )
    explore.add_argument(
        "--output-directory",
        dest="folder",
        metavar="FOLDER",
        type=_path,
        help="where output modules write (default: where VisTrails' preferences say)",
    )
    convert = command("convert", "Make the Maps of a vistrail parallel, or serial again", _CONVERT)
    convert.add_argument("file", metavar="IN.vt", type=_path, help="the vistrail")
    convert.add_argument("target", metavar="OUT.vt", type=_path, help="the file to write; there must be none yet")
    convert.add_argument("--serial", action="store_true", help="those of Parallel Flow become Control Flow's")
    convert.add_argument("--each", action="store_true", help="say version by version what was changed")
    convert.add_argument(
        "--only",
        dest="versions",
        metavar="VERSION",
        action="append",
        default=[],
        help="only this version: tag or number",
    )
    return parser


def _path(word: str) -> Path:
    return Path(word).expanduser()


def _count(word: str) -> int:
    try:
        number = int(word)
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST_ENGINES:
        raise argparse.ArgumentTypeError(f"the number of engines must be from 1 to {_MOST_ENGINES}, not {word!r}")
    return number
