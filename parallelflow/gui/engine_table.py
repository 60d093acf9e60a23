"""The table of engines, grouped by host, that keeps itself up to date without losing selection or expansion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PyQt5.QtCore import QAbstractItemModel, QModelIndex, QObject, QSize, QSortFilterProxyModel, Qt
from PyQt5.QtGui import QGuiApplication, QKeySequence
from PyQt5.QtWidgets import QAbstractItemView, QAction, QTreeView

from parallelflow.cluster.state import EngineState
from parallelflow.gui import texts
from parallelflow.gui.dialog import there
from parallelflow.gui.texts import tr
from parallelflow.map.progress import MapProgress

_SORT = int(Qt.ItemDataRole.UserRole)
_NO_PARENT = 0
_ELEMENTS = 4  # the column that is there only while a Map runs

Elements = Mapping[int, tuple[int, int, float]]
"""By engine number: the first element that it has, how many, and since when."""


@dataclass
class _Host:
    """One group of rows."""

    name: str
    here: bool
    number: int
    engines: list[EngineState] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, bool]:
        """Tells it from other hosts."""
        return self.name, self.here


@dataclass(frozen=True)
class _Column:
    """One column: its title, what it says in full, and what it shows of an engine and of a host.

    :param typical: a text that makes the column as wide as it usually must be
    :param sort: what an engine is sorted by
    """

    title: str
    hint: str
    typical: str
    engine: Callable[[EngineState, Elements], str]
    sort: Callable[[EngineState, Elements], Any]
    host: Callable[[Sequence[EngineState]], str]
    number: bool = False


def _first(engine: EngineState, elements: Elements) -> int:
    return elements[engine.id][0] if engine.id in elements else -1


def _elements(engine: EngineState, elements: Elements) -> str:
    if engine.id not in elements:
        return ""
    first, count, _ = elements[engine.id]
    return texts.elements(first, count)


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _number(value: float | None) -> float:
    """What a number is sorted by. Qt does not compare small whole numbers with those above 2,147,483,647."""
    return -1.0 if value is None else float(value)


def _nothing(engines: Sequence[EngineState]) -> str:
    return ""


def _columns() -> list[_Column]:
    return [
        _Column(
            tr("Engine"),
            tr("The engine's number at the controller, under the host that it runs on"),
            "workstation (this machine)",
            lambda e, _: str(e.id),
            lambda e, _: e.id,
            _nothing,
        ),
        _Column(
            tr("Process"), tr("Process id"), "4194304", lambda e, _: str(e.pid or ""), lambda e, _: e.pid or 0, _nothing
        ),
        _Column(
            tr("Started by"),
            tr("Whether this VisTrails started the engine, or took it over"),
            "this VisTrails",
            lambda e, _: tr("this VisTrails") if e.ours else tr("others"),
            lambda e, _: not e.ours,
            _nothing,
        ),
        _Column(
            tr("State"),
            tr("What the engine does"),
            "does not answer",
            lambda e, _: texts.engine_state(e.state),
            lambda e, _: e.state,
            lambda engines: tr("{busy} of {all} busy", busy=sum(e.state == "busy" for e in engines), all=len(engines)),
        ),
        _Column(
            tr("Elements"),
            tr("The elements of the running Map that the engine has, by index"),
            "10000 to 10099",
            _elements,
            _first,
            _nothing,
        ),
        _Column(
            tr("Done"),
            tr("Tasks that the engine has completed"),
            "100000",
            lambda e, _: str(e.tasks_done),
            lambda e, _: e.tasks_done,
            lambda engines: str(sum(e.tasks_done for e in engines)),
            True,
        ),
        _Column(
            tr("Queued"),
            tr("Tasks that the engine has and has not completed"),
            "100",
            lambda e, _: str(e.tasks_queued),
            lambda e, _: e.tasks_queued,
            lambda engines: str(sum(e.tasks_queued for e in engines)),
            True,
        ),
        _Column(
            tr("CPU"),
            tr("Time on the processor in the last second; 100 % is one core"),
            "1600 %",
            lambda e, _: texts.percent(e.cpu_percent),
            lambda e, _: _number(e.cpu_percent),
            lambda engines: texts.percent(_total([e.cpu_percent for e in engines])),
            True,
        ),
        _Column(
            tr("Memory"),
            tr("Memory that the engine and what it started use"),
            "999.9 MiB",
            lambda e, _: texts.memory(e.memory),
            lambda e, _: _number(e.memory),
            lambda engines: texts.memory(_whole(_total([e.memory for e in engines]))),
            True,
        ),
        _Column(
            tr("Since"),
            tr("When the engine was started or first seen"),
            "12/30/26 12:59 PM",
            lambda e, _: texts.moment(e.since),
            lambda e, _: e.since or 0.0,
            _nothing,
            True,
        ),
    ]


class EngineModel(QAbstractItemModel):
    """Hosts, and below each its engines. Shows whatever states it was given last.

    :param parent: Qt's owner of it
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._columns = _columns()
        self._hosts: list[_Host] = []
        self._by_number: dict[int, _Host] = {}
        self._last_number = _NO_PARENT
        self._elements: Elements = {}

    # ------------------------------------------------------------ what it is given

    def show_engines(self, engines: Sequence[EngineState], progress: MapProgress | None) -> None:
        """Show other engines, or the same in another state.

        :param engines: all there are
        :param progress: the Map that runs now
        """
        self._elements = _by_engine(progress)
        groups: dict[tuple[str, bool], list[EngineState]] = {}
        for engine in engines:
            groups.setdefault((engine.host, engine.here), []).append(engine)
        for row in reversed(range(len(self._hosts))):
            if self._hosts[row].key not in groups:
                self.beginRemoveRows(QModelIndex(), row, row)
                del self._by_number[self._hosts.pop(row).number]
                self.endRemoveRows()
        for key in sorted(groups):
            host = next((host for host in self._hosts if host.key == key), None)
            if host is None:
                host = self._add_host(*key)
            self._show_host(host, groups[key])

    def _add_host(self, name: str, here: bool) -> _Host:
        row = sum(host.key < (name, here) for host in self._hosts)
        self._last_number += 1
        host = _Host(name, here, self._last_number)
        self.beginInsertRows(QModelIndex(), row, row)
        self._hosts.insert(row, host)
        self._by_number[host.number] = host
        self.endInsertRows()
        return host

    def _show_host(self, host: _Host, engines: list[EngineState]) -> None:
        parent = self.index(self._hosts.index(host), 0)
        wanted = {engine.uuid: engine for engine in engines}
        for row in reversed(range(len(host.engines))):
            if host.engines[row].uuid not in wanted:
                self.beginRemoveRows(parent, row, row)
                del host.engines[row]
                self.endRemoveRows()
        host.engines[:] = [wanted.pop(engine.uuid) for engine in host.engines]
        if wanted:
            first = len(host.engines)
            self.beginInsertRows(parent, first, first + len(wanted) - 1)
            host.engines.extend(wanted.values())
            self.endInsertRows()
        last = len(self._columns) - 1
        self.dataChanged.emit(parent, parent.siblingAtColumn(last))
        self.dataChanged.emit(self.index(0, 0, parent), self.index(len(host.engines) - 1, last, parent))

    def engine_ids(self, index: QModelIndex) -> list[int]:
        """Return the number of a row's engine, or of all engines of a row's host.

        :param index: any cell of the row
        """
        host = self._by_number.get(index.internalId())
        if host is not None:
            return [host.engines[index.row()].id]
        return [engine.id for engine in self._hosts[index.row()].engines]

    def typical(self) -> list[str]:
        """Return a text for each column that is about as long as its texts usually are."""
        return [column.typical for column in self._columns]

    # ------------------------------------------------------------ what Qt asks

    def index(self, row: int, column: int, parent: QModelIndex = QModelIndex()) -> QModelIndex:  # noqa: B008
        """Return an index; a host's has the internal number 0, an engine's that of its host."""
        if not self.hasIndex(row, column, parent):
            return QModelIndex()
        if not parent.isValid():
            return self.createIndex(row, column, _NO_PARENT)
        return self.createIndex(row, column, self._hosts[parent.row()].number)

    def parent(self, index: QModelIndex = QModelIndex()) -> QModelIndex:  # noqa: B008
        """Return the index of an engine's host."""
        host = self._by_number.get(index.internalId()) if index.isValid() else None
        return QModelIndex() if host is None else self.createIndex(self._hosts.index(host), 0, _NO_PARENT)

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        """Return the number of hosts, or of a host's engines."""
        if not parent.isValid():
            return len(self._hosts)
        if parent.internalId() != _NO_PARENT or parent.column() > 0:
            return 0
        return len(self._hosts[parent.row()].engines)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        """Return the number of columns."""
        return len(self._columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a column's title, or what it says in full."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return self._columns[section].title
            if role == Qt.ItemDataRole.ToolTipRole:
                return self._columns[section].hint
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return self._alignment(self._columns[section])
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows, or what it is sorted by."""
        if not index.isValid():
            return None
        column = self._columns[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._alignment(column)
        host = self._by_number.get(index.internalId())
        if host is None:
            return self._host_data(self._hosts[index.row()], index.column(), role)
        engine = host.engines[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.engine(engine, self._elements)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(engine)
        if role == _SORT:
            return column.sort(engine, self._elements)
        return None

    def _host_data(self, host: _Host, column: int, role: int) -> Any:
        if role == _SORT:
            return host.name
        if role == Qt.ItemDataRole.DisplayRole:
            if column == 0:
                return texts.host(host.name, host.here)
            return self._columns[column].host(host.engines)
        return None

    def _tip(self, engine: EngineState) -> str:
        lines = [tr("Running for {age}", age=texts.age(engine.since))] if engine.since else []
        if engine.id in self._elements:
            first, count, since = self._elements[engine.id]
            has = texts.elements(first, count)
            lines.append(tr("Has had the elements {elements} for {age}", elements=has, age=texts.age(since)))
        return "\n".join(lines)

    @staticmethod
    def _alignment(column: _Column) -> int:
        side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
        return int(side | Qt.AlignmentFlag.AlignVCenter)


class EngineTable(QTreeView):
    """The view of the engines. What is selected can be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("engines")
        self._model = EngineModel(self)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self._model)
        self._sorted.setSortRole(_SORT)
        self._sorted.setDynamicSortFilter(True)
        self.setModel(self._sorted)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setUniformRowHeights(True)
        self.setAlternatingRowColors(True)
        self.setAllColumnsShowFocus(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        header = there(self.header())
        header.setStretchLastSection(False)
        for column, text in enumerate(self._model.typical()):
            width = self.fontMetrics().horizontalAdvance(text) + 2 * self.fontMetrics().averageCharWidth()
            self.setColumnWidth(column, max(width, header.sectionSizeHint(column)))
        self.setColumnWidth(0, self.columnWidth(0) + self.indentation())
        self._width = header.length()
        self.setColumnHidden(_ELEMENTS, True)
        self._sorted.rowsInserted.connect(self._open_new_hosts)
        copy = QAction(tr("&Copy"), self)
        copy.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
        copy.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        copy.triggered.connect(self.copy)
        self.addAction(copy)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)

    def show_engines(self, engines: Sequence[EngineState], progress: MapProgress | None) -> None:
        """Show other engines, or the same in another state.

        :param engines: all there are
        :param progress: the Map that runs now
        """
        self.setColumnHidden(_ELEMENTS, progress is None)
        self._model.show_engines(engines, progress)

    def sizeHint(self) -> QSize:
        """Return a size in which all columns can be seen."""
        bar = there(self.verticalScrollBar()).sizeHint().width()
        return QSize(self._width + bar + 2 * self.frameWidth(), super().sizeHint().height())

    def selected_engines(self) -> list[int]:
        """Return the numbers of the selected engines, those of selected hosts among them."""
        rows = there(self.selectionModel()).selectedRows()
        return sorted({number for row in rows for number in self._model.engine_ids(self._sorted.mapToSource(row))})

    def copy(self) -> None:
        """Put the selected rows on the clipboard, with tabs between the columns."""
        lines = []
        for row in there(self.selectionModel()).selectedRows():
            cells = [row.siblingAtColumn(column).data() for column in range(self._model.columnCount())]
            lines.append("\t".join(str(cell) for cell in cells))
        if lines:
            there(QGuiApplication.clipboard()).setText("\n".join(lines))

    def _open_new_hosts(self, parent: QModelIndex, first: int, last: int) -> None:
        if not parent.isValid():
            for row in range(first, last + 1):
                self.expand(self._sorted.index(row, 0))
        elif not self.isExpanded(parent) and self._sorted.rowCount(parent) == last - first + 1:
            self.expand(parent)


def _by_engine(progress: MapProgress | None) -> Elements:
    """What each engine works on: of the chunks that it has, the one it got first."""
    found: dict[int, tuple[int, int, float]] = {}
    for engine, first, count, since in progress.chunks if progress is not None else ():
        if engine is not None and (engine not in found or since < found[engine][2]):
            found[engine] = (first, count, since)
    return found
