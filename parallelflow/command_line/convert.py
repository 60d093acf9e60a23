"""``convert``: Control Flow's loops in a vistrail's file become ours, or ours Control Flow's.

VisTrails reads and writes the file, in a settings folder of its own that is gone afterwards: no package is needed for that.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parallelflow.cluster.errors import ClusterError
from parallelflow.command_line import user
from parallelflow.command_line.arguments import Arguments
from parallelflow.command_line.output import FINE, Output

if TYPE_CHECKING:
    from parallelflow.map.conversion import Change, Conversion


class ConversionError(ClusterError):
    """Why nothing was converted; `str()` is a sentence."""


def convert(arguments: Arguments, output: Output) -> int:
    """Convert a vistrail, and say what was changed."""
    source, target = Path(str(arguments.file)), Path(str(arguments.target))
    if not source.is_file():
        raise ConversionError(f"There is no file {source}.")
    for each in (source.absolute(), target.absolute()):
        if why := user.name_trouble(each):
            raise ConversionError(why)
    if target.exists():
        raise ConversionError(f"{target} exists already: remove it, or choose another name for what is written.")
    if not target.parent.is_dir():
        raise ConversionError(f"There is no folder {target.parent} to write {target.name} into.")
    if target.suffix not in (".vt", ".xml"):
        raise ConversionError(f"The name {target} must end in .vt or .xml.")
    with _vistrails():
        changed = _convert(source, target, arguments)
    if not changed:
        package = "Parallel Flow" if arguments.serial else "Control Flow"
        raise ConversionError(
            f"In {source} there is no Map, Filter or For of {package} to convert, so that nothing was written."
        )
    output.answer(_text(target, changed, arguments.each), _content(target, changed))
    return FINE


@contextlib.contextmanager
def _vistrails() -> Iterator[None]:
    """A VisTrails without packages, window and settings of the user's."""
    with tempfile.TemporaryDirectory(prefix="parallelflow-convert-") as folder:
        (Path(folder) / "startup.xml").write_text(
            '<startup version="0.1"><configuration/><packages/><disabledpackages/></startup>', encoding="utf-8"
        )
        said = io.StringIO()
        before = tempfile.tempdir
        tempfile.tempdir = folder  # VisTrails leaves what it unpacks
        application = None
        try:
            # What it says while it starts is about packages that nobody needs here.
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                import vistrails.core.application

                application = vistrails.core.application.init(
                    {
                        "batch": True,
                        "installBundles": False,
                        "loadPackages": False,
                        "errorLog": False,
                        "singleInstance": False,
                        "dotVistrails": folder,
                    },
                    args=[],
                )
            yield
        except SystemExit as error:
            raise ConversionError(f"VisTrails did not start: {said.getvalue().strip()}") from error
        finally:
            tempfile.tempdir = before
            if application is not None:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    application.destroy()
                    application.destroy = lambda: None  # it would do so again when Python ends


Changed = list[tuple[int, str, "Conversion"]]


def _convert(source: Path, target: Path, arguments: Arguments) -> Changed:
    from vistrails.core.db.io import load_vistrail
    from vistrails.core.db.locator import FileLocator
    from vistrails.db.services.io import SaveBundle

    from parallelflow.map.conversion import carry_explorations
    from parallelflow.map.conversion import convert as convert_pipeline

    try:
        vistrail, subworkflows, thumbnails, mashups = load_vistrail(FileLocator(os.path.abspath(source)))
    except Exception as error:  # whatever is wrong with the file
        raise ConversionError(f"{source} cannot be read as a vistrail: {type(error).__name__}: {error}.") from error
    changed: Changed = []
    for version in _versions(vistrail, arguments.versions):
        found = convert_pipeline(vistrail.getPipeline(version), vistrail.idScope, not arguments.serial)
        if found.action is None:
            continue
        tag, notes = vistrail.get_tag(version) or "", vistrail.get_notes(version)
        vistrail.add_action(found.action, version, 0)
        vistrail.change_description("Made Maps serial" if arguments.serial else "Made Maps parallel", found.action.id)
        if tag:
            vistrail.set_tag(version, "")
            vistrail.set_tag(found.action.id, tag)
        if notes:
            vistrail.set_notes(version, "")
            vistrail.set_notes(found.action.id, notes)
        carry_explorations(vistrail, version, found)
        changed.append((version, tag, found))
    if changed:
        bundle = SaveBundle(vistrail.vtType, vistrail, None, None, subworkflows, thumbnails, mashups)
        # VisTrails writes in place, and what was interrupted there would look like a vistrail.
        draft = target.with_name(f".{target.stem}-{os.getpid()}{target.suffix}")
        try:
            FileLocator(os.path.abspath(draft)).save_as(bundle)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    return changed


def _versions(vistrail: Any, wanted: tuple[str, ...]) -> list[int]:
    """The versions to convert, in the order of their numbers."""
    by_tag = {tag: version for version, tag in vistrail.get_tagMap().items()}
    if not wanted:
        parents = {action.parent for action in vistrail.actions}
        ends = {action.id for action in vistrail.actions if action.id not in parents}
        return sorted({*by_tag.values(), *ends})
    found = set()
    for word in wanted:
        number = by_tag.get(word, int(word) if word.isdecimal() else -1)
        if number not in vistrail.actionMap:
            known = ", ".join(f"'{tag}'" for tag in sorted(by_tag)) or "none"
            raise ConversionError(f"There is no version '{word}'. Tags are: {known}.")
        found.add(number)
    return sorted(found)


def _text(target: Path, changed: Changed, each: bool) -> str:
    from parallelflow.map.conversion import counted

    versions = "1 version was" if len(changed) == 1 else f"{len(changed)} versions were"
    every = [change for _, _, found in changed for change in found.changes]
    lines = [f"{target}: {versions} converted, {counted(every)} in all."]
    if each:
        for version, tag, found in changed:
            called = f"'{tag}'" if tag else "without a tag"
            lines.append(f"Version {version}, {called}, is version {found.action.id} now: {counted(found.changes)}")
            lines += [f"  {_place(change)}" for change in found.changes]
            lines += [f"  {_place(change)}: stays, because the subworkflow is shared" for change in found.left]
    elif any(found.left for _, _, found in changed):
        names = sorted({str(change.subworkflow) for _, _, found in changed for change in found.left})
        lines.append(f"Subworkflows are shared, and stay as they are: {', '.join(names)}.")
    return "\n".join(lines)


def _place(change: Change) -> str:
    within = [f"Group '{name}'" for name in change.path]
    if change.subworkflow is not None:
        within.append(f"subworkflow '{change.subworkflow}'")
    return f"{change.name}, module {change.module_id}{', in ' if within else ''}{', '.join(within)}"


def _content(target: Path, changed: Changed) -> dict[str, Any]:
    def plain(change: Change) -> dict[str, Any]:
        return {"name": change.name, "id": change.module_id, "groups": list(change.path)}

    return {
        "file": str(target),
        "versions": [
            {
                "version": version,
                "tag": tag or None,
                "new": found.action.id,
                "changed": [plain(change) for change in found.changes],
                "left": [{**plain(change), "subworkflow": change.subworkflow} for change in found.left],
            }
            for version, tag, found in changed
        ],
    }
