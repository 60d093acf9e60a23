"""The window: what PyQt5 takes otherwise than PyQt4, which VisTrails was written for, and what its wheels lack."""

from __future__ import annotations

import re

from host.repairs.edits import Edit, Repair

_WEB_CELL = "packages/spreadsheet/widgets/webview/webview.py"
_COLOR = re.compile(r"(?<!int\()float\(color\[\d\]\)\*255")

REPAIRS = (
    Repair(
        name="whole numbers for Qt",
        since="Python 3.10",
        reason="PyQt5 no longer turns a float into an int where Qt takes an int.",
        edits=(
            Edit("gui/theme.py", "poly.setPoint(2, w, h/2)", "poly.setPoint(2, w, h//2)"),
            Edit("gui/module_palette.py", "QtCore.QPoint(pixmap.width()/2,", "QtCore.QPoint(pixmap.width()//2,"),
            Edit("gui/module_palette.py", "pixmap.height()/2))", "pixmap.height()//2))"),
            Edit("gui/module_palette.py", "QtCore.QRect(r.left() + i / 2,", "QtCore.QRect(r.left() + i // 2,"),
            Edit("gui/module_palette.py", "r.top() + (r.height() - i) / 2,", "r.top() + (r.height() - i) // 2,"),
            Edit("gui/module_palette.py", "r.width() - ((5 * i) / 2),", "r.width() - ((5 * i) // 2),"),
            Edit(
                "gui/pipeline_view.py",
                "setMaximumSize(MAX_WIDTH/SCALE, MAX_WIDTH/SCALE)",
                "setMaximumSize(int(MAX_WIDTH/SCALE), int(MAX_WIDTH/SCALE))",
            ),
            Edit(
                "gui/pipeline_view.py",
                "mapToScene(self.width()/2.0, self.height()/2.0)",
                "mapToScene(self.width()//2, self.height()//2)",
            ),
            Edit(
                "packages/spreadsheet/spreadsheet_sheet.py",
                "self.resizeSection(self.logicalIndex(i), size)",
                "self.resizeSection(self.logicalIndex(i), int(size))",
                times=2,
            ),
            Edit("gui/modules/constant_configuration.py", _COLOR, r"int(\g<0>)", times=3),
            Edit("gui/modules/paramexplore.py", _COLOR, r"int(\g<0>)", times=3),
            Edit("gui/modules/paramexplore.py", "r,g,b = (0.0, 0.0, 0.0)", "r,g,b = (0, 0, 0)"),
            Edit(
                "packages/spreadsheet/spreadsheet_sheet.py",
                "QColor(0.8549*255, 0.6971*255, 0.2255*255)",
                "QColor.fromRgbF(0.8549, 0.6971, 0.2255)",
            ),
        ),
    ),
    Repair(
        name="editors without QScintilla",
        since="any",
        reason="The editors of PythonSource and String take keyword arguments only, and got their parent without one.",
        edits=(
            Edit(
                "gui/modules/python_source_configure.py",
                "return OldPythonEditor(parent)",
                "return OldPythonEditor(parent=parent)",
            ),
            Edit(
                "gui/modules/string_configure.py", "return OldTextEditor(parent)", "return OldTextEditor(parent=parent)"
            ),
        ),
    ),
    Repair(
        name="palette button features",
        since="any",
        reason="PyQt5 names the enum value None_, so every paint of the module palette raised.",
        edits=(
            Edit(
                "gui/module_palette.py",
                "getattr(QtWidgets.QStyleOptionButton, 'None')",
                "QtWidgets.QStyleOptionButton.None_",
            ),
        ),
    ),
    Repair(
        name="sip inside PyQt5",
        since="any",
        reason="PyQt5's wheels bring sip as PyQt5.sip, so VisTrails took PyQt5 for missing.",
        edits=(Edit("gui/requirements.py", "require_python_module('sip')", "require_python_module('PyQt5.sip')"),),
    ),
    Repair(
        name="lives of mashup windows",
        since="any",
        reason=(
            "Only Python's cyclic garbage holds a mashup's window once it is closed, and PyQt5 reads and writes memory that"
            " is free already when that is collected before Qt has deleted the window: glibc then ends VisTrails."
        ),
        edits=(
            Edit(
                "gui/version_prop.py",
                "from PyQt5 import QtCore, QtGui, QtWidgets\n",
                "from PyQt5 import QtCore, QtGui, QtWidgets, sip\n",
            ),
            Edit("gui/version_prop.py", "self.apps = {}\n", "self.apps, self.living = {}, []\n"),
            Edit(
                "gui/version_prop.py",
                "        app.appWasClosed.connect(",
                "        self.living = [each for each in self.living if not sip.isdeleted(each)] + [app]\n"
                "        self.living[-1].appWasClosed.connect(",
            ),
        ),
    ),
    Repair(
        name="layouts of mashups",
        since="any",
        reason=(
            "A mashup whose window was laid out could not be opened: its layout is text, and QByteArray takes bytes."
        ),
        edits=(
            Edit(
                "gui/mashups/mashup_app.py",
                "QtCore.QByteArray(self.currentMashup.layout)",
                "QtCore.QByteArray(self.currentMashup.layout.encode())",
            ),
            Edit(
                "gui/mashups/mashup_app.py",
                "QtCore.QByteArray(self.currentMashup.geometry)",
                "QtCore.QByteArray(self.currentMashup.geometry.encode())",
            ),
            Edit(
                "gui/mashups/mashup_app.py",
                "layout = self.saveState().toPercentEncoding()",
                "layout = bytes(self.saveState().toPercentEncoding()).decode()",
            ),
            Edit(
                "gui/mashups/mashup_app.py",
                "geom = self.saveGeometry().toPercentEncoding()",
                "geom = bytes(self.saveGeometry().toPercentEncoding()).decode()",
            ),
        ),
    ),
    Repair(
        name="choice of a converter",
        since="PyQt5",
        reason="Old-style signals: two ports with several matching converters could not be connected.",
        edits=(
            Edit(
                "gui/pipeline_view.py",
                "    QtCore.QObject.connect(buttons, QtCore.SIGNAL('accepted()'),\n"
                "                           dialog, QtCore.SLOT('accept()'))\n",
                "    buttons.accepted.connect(dialog.accept)\n",
            ),
            Edit(
                "gui/pipeline_view.py",
                "    QtCore.QObject.connect(buttons, QtCore.SIGNAL('rejected()'),\n"
                "                           dialog, QtCore.SLOT('reject()'))\n",
                "    buttons.rejected.connect(dialog.reject)\n",
            ),
            Edit(
                "gui/pipeline_view.py",
                "    QtCore.QObject.connect(\n"
                "            list_widget, QtCore.SIGNAL('itemSelectionChanged()'),\n"
                "            lambda: ok.setEnabled(True))\n",
                "    list_widget.itemSelectionChanged.connect(lambda: ok.setEnabled(True))\n",
            ),
        ),
    ),
    Repair(
        name="svg cell: PDF",
        since="PyQt5",
        reason="QSvgWidget.render does not take these arguments; its renderer renders.",
        edits=(
            Edit(
                "packages/spreadsheet/widgets/svg/svg.py",
                "self.svgWidget.render(painter, QtCore.QRectF(), b_rect)",
                "self.svgWidget.renderer().render(painter)",
            ),
        ),
    ),
    Repair(
        name="web cell (spreadsheet, gmaps)",
        since="PyQt5 5.6",
        reason=(
            "QtWebKit is gone from Qt; QtWebEngine does its work (PyQtWebEngine), and wants this attribute"
            " before the application is made. What it saves is there when the call returns, as with QtWebKit."
        ),
        edits=(
            Edit(
                _WEB_CELL,
                "from PyQt5 import (QtCore, QtGui, QtWebKit, QtWidgets, QtWebKitWidgets,\n"
                "                   QtPrintSupport)\n",
                "from PyQt5 import QtCore, QtGui, QtWebEngineWidgets, QtWidgets\n",
            ),
            Edit(
                _WEB_CELL,
                "import os\nimport webbrowser\n",
                "import os\n"
                "import webbrowser\n"
                "\n"
                "# For root, the web engine ends the process unless it goes without its sandbox.\n"
                "if getattr(os, 'geteuid', lambda: 1)() == 0:\n"
                "    os.environ.setdefault('QTWEBENGINE_DISABLE_SANDBOX', '1')\n",
            ),
            Edit(
                _WEB_CELL,
                "        QtWebKit.QWebSettings.globalSettings().setAttribute(\n"
                "            QtWebKit.QWebSettings.DeveloperExtrasEnabled, True)\n"
                "        self.browser = QtWebKitWidgets.QWebView()\n",
                "        self.browser = QtWebEngineWidgets.QWebEngineView()\n",
            ),
            Edit(
                _WEB_CELL,
                "            with open(filename, 'wb') as fp:\n"
                "                fp.write(self.browser.page().mainFrame().toHtml())\n",
                "            def save(html):\n"
                "                with open(filename, 'wb') as fp:\n"
                "                    fp.write(html.encode('utf-8'))\n"
                "                waiting.quit()\n"
                "\n"
                "            waiting = QtCore.QEventLoop()\n"
                "            QtCore.QTimer.singleShot(60000, waiting.quit)\n"
                "            self.browser.page().toHtml(save)\n"
                "            waiting.exec_(QtCore.QEventLoop.ExcludeUserInputEvents)\n",
            ),
            Edit(
                _WEB_CELL,
                "        printer = QtPrintSupport.QPrinter()\n"
                "        printer.setOutputFormat(QtPrintSupport.QPrinter.PdfFormat)\n"
                "        printer.setOutputFileName(filename)\n"
                "        self.browser.print_(printer)\n",
                "        # Without waiting, the cell could be closed meanwhile, which ends the process.\n"
                "        waiting = QtCore.QEventLoop()\n"
                "        QtCore.QTimer.singleShot(60000, waiting.quit)\n"
                "        self.browser.page().pdfPrintingFinished.connect(lambda *_said: waiting.quit())\n"
                "        self.browser.page().printToPdf(filename)\n"
                "        waiting.exec_(QtCore.QEventLoop.ExcludeUserInputEvents)\n",
            ),
            Edit(
                "gui/application.py",
                "    VistrailsApplication = VistrailsApplicationSingleton()\n",
                "    QtCore.QCoreApplication.setAttribute(QtCore.Qt.AA_ShareOpenGLContexts)\n"
                "    VistrailsApplication = VistrailsApplicationSingleton()\n",
            ),
        ),
    ),
)
