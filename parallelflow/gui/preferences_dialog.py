"""A proper dialog for the preferences, in place of VisTrails' bare table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from PyQt5.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QLineEdit,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from parallelflow.cluster.errors import SettingsError
from parallelflow.cluster.settings import (
    LONGEST_WAIT,
    MOST_DEATHS,
    MOST_ENGINES,
    MOST_GIGABYTES,
    PREFERENCES,
    Settings,
    Value,
)
from parallelflow.gui.dialog import Dialog, Icon, Note, there
from parallelflow.gui.texts import tr, tr_count


@dataclass
class _Editor:
    """One value's widget, and how it is read and set."""

    widget: QWidget
    read: Callable[[], Value]
    show: Callable[[Value], None]


def _text() -> _Editor:
    edit = QLineEdit()
    return _Editor(edit, edit.text, lambda value: edit.setText(str(value)))


def _profile(names: Sequence[str]) -> _Editor:
    box = QComboBox()
    box.addItems(list(names))

    def show(value: Value) -> None:
        if box.findText(str(value)) < 0:
            box.addItem(str(value))
        box.setCurrentText(str(value))

    return _Editor(box, box.currentText, show)


def _engines(cores: int) -> _Editor:
    spin = QSpinBox()
    spin.setRange(0, MOST_ENGINES)
    spin.setSpecialValueText(tr_count("as many as cores (%Ln here)", "as many as cores (%Ln here)", cores))
    return _Editor(spin, spin.value, lambda value: spin.setValue(int(value)))


def _threads() -> _Editor:
    spin = QSpinBox()
    spin.setRange(0, MOST_ENGINES)
    spin.setSpecialValueText(tr("its share of the cores"))
    return _Editor(spin, spin.value, lambda value: spin.setValue(int(value)))


def _seconds() -> _Editor:
    spin = QDoubleSpinBox()
    spin.setDecimals(0)
    spin.setRange(1, LONGEST_WAIT)
    spin.setSuffix(tr(" s"))
    return _Editor(spin, spin.value, lambda value: spin.setValue(float(value)))


def _deaths() -> _Editor:
    spin = QSpinBox()
    spin.setRange(1, MOST_DEATHS)
    spin.setSuffix(tr(" engines"))
    return _Editor(spin, spin.value, lambda value: spin.setValue(int(value)))


def _gigabytes() -> _Editor:
    spin = QSpinBox()
    spin.setRange(1, MOST_GIGABYTES)
    spin.setSuffix(tr(" GB"))
    return _Editor(spin, spin.value, lambda value: spin.setValue(int(value)))


def _choice(choices: Sequence[tuple[str, str]]) -> _Editor:
    box = QComboBox()
    for value, text in choices:
        box.addItem(text, value)
    return _Editor(box, lambda: str(box.currentData()), lambda value: box.setCurrentIndex(box.findData(value)))


def _yes_or_no(text: str) -> _Editor:
    box = QCheckBox(text)
    return _Editor(box, box.isChecked, lambda value: box.setChecked(bool(value)))


class PreferencesDialog(Dialog):
    """Shows the preferences and lets the user change them. The answer is what was changed, by name.

    :param parent: the window that it belongs to
    :param settings: the values now
    :param profiles: the profiles that exist
    :param cores: how many of this machine's cores VisTrails may use
    """

    def __init__(self, parent: QWidget | None, settings: Settings, profiles: Sequence[str], cores: int) -> None:
        super().__init__(parent, tr("Parallel Flow Preferences"))
        self._settings = settings
        self.editors: dict[str, _Editor] = {}
        self._documentation = {preference.key: preference.documentation for preference in PREFERENCES}
        self._tabs = QTabWidget()  # all below one another would be higher than a small screen
        self._tabs.setDocumentMode(True)
        self.column.addWidget(self._tabs)
        general = self._page(tr("General"))
        cluster = self._group(general, tr("Cluster"))
        self._row(cluster, "profile", tr("&Profile:"), _profile(profiles))
        self._row(cluster, "engines", tr("&Engines to start:"), _engines(cores))
        self._row(cluster, "threads_per_engine", tr("&Threads in each engine:"), _threads())
        self._row(cluster, "if_no_engines", tr("When a &Map finds no engines:"), _choice(_start_choices()))
        self._row(cluster, "encryption", "", _yes_or_no(tr("E&ncrypt the traffic of controllers that are started")))
        started = self._group(general, tr("What VisTrails has started"))
        self._row(started, "at_exit", tr("When VisTrails en&ds:"), _choice(_exit_choices()))
        self._row(started, "after_crash", tr("At the next start, after a &crash:"), _choice(_orphan_choices()))
        trouble = self._page(tr("Limits"))
        limits = self._group(trouble, tr("Time limits"))
        self._row(limits, "start_timeout", tr("To sta&rt:"), _seconds())
        self._row(limits, "connect_timeout", tr("To c&onnect:"), _seconds())
        self._row(limits, "stop_timeout", tr("To &stop:"), _seconds())
        self._row(limits, "ready_timeout", tr("For an engine to &load packages:"), _seconds())
        lost = self._group(trouble, tr("Engines that end while a Map runs"))
        self._row(lost, "keep_engines", "", _yes_or_no(tr("Start as man&y again, such as another batch job")))
        self._row(lost, "no_engine_timeout", tr("Without any, &wait for another for:"), _seconds())
        self._row(lost, "deaths", tr("An element may take alon&g:"), _deaths())
        results = self._page(tr("Results"))
        kept = self._group(results, tr("Results of elements, so that these need not run again"))
        self._row(kept, "keep_results", tr("Are &kept:"), _choice(_keep_choices()))
        self._row(kept, "results_limit", tr("At most, &all together:"), _gigabytes())
        others = [preference.key for preference in PREFERENCES if preference.key not in self.editors]
        if others:
            more = self._group(general, tr("More"))
            for key in others:
                self._row(more, key, tr("{key}:", key=key), _text())
        self.problem = Note(Icon.SP_MessageBoxWarning, name="problem")
        self.column.addWidget(self.problem)
        general.addStretch()
        trouble.addStretch()
        results.addStretch()
        self.add_buttons(tr("OK"))
        defaults = there(self.buttons.addButton(QDialogButtonBox.StandardButton.RestoreDefaults))
        defaults.clicked.connect(lambda: self._show(Settings()))
        self._show(settings)
        self.editors["profile"].widget.setFocus()
        self.fit()

    def _page(self, title: str) -> QVBoxLayout:
        page = QWidget()
        self._tabs.addTab(page, title)
        column = QVBoxLayout(page)
        column.setContentsMargins(0, column.spacing(), 0, 0)
        return column

    def _group(self, page: QVBoxLayout, title: str) -> QFormLayout:
        box = QGroupBox(title)
        page.addWidget(box)
        return QFormLayout(box)

    def _row(self, form: QFormLayout, key: str, text: str, editor: _Editor) -> None:
        editor.widget.setObjectName(key)
        editor.widget.setToolTip(self._documentation.get(key, ""))
        editor.widget.setWhatsThis(self._documentation.get(key, ""))
        self.editors[key] = editor
        form.addRow(text, editor.widget)

    def _show(self, settings: Settings) -> None:
        for key, value in asdict(settings).items():
            self.editors[key].show(value)

    def _values(self) -> dict[str, Value]:
        return {key: editor.read() for key, editor in self.editors.items()}

    def accept(self) -> None:
        """Close, unless a value is not allowed."""
        try:
            Settings.from_mapping(self._values())
        except SettingsError as error:
            self.problem.show_text(str(error))
        else:
            super().accept()

    def answer(self) -> dict[str, Value]:
        """Return the values that were changed, by name."""
        before = asdict(self._settings)
        after = asdict(replace(self._settings, **self._values()))  # type: ignore[arg-type]
        return {key: value for key, value in after.items() if value != before[key]}


def _start_choices() -> Sequence[tuple[str, str]]:
    return (
        ("ask", tr("ask whether to start some")),
        ("auto", tr("start some without a question")),
        ("never", tr("fail with a message")),
    )


def _keep_choices() -> Sequence[tuple[str, str]]:
    return (
        ("failed", tr("until the Map has completed once")),
        ("all", tr("for later executions, too")),
        ("none", tr("not at all")),
    )


def _exit_choices() -> Sequence[tuple[str, str]]:
    return ("stop", tr("is stopped")), ("leave", tr("goes on running, for the next session"))


def _orphan_choices() -> Sequence[tuple[str, str]]:
    return ("ask", tr("ask")), ("stop", tr("is stopped")), ("take back", tr("is used again"))
