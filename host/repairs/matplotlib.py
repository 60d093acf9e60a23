"""VisTrails' package `matplotlib`, which was written for matplotlib 1."""

from __future__ import annotations

import re

from host.repairs.edits import Edit, Repair

_PACKAGE = "packages/matplotlib/"


def _first(function: str, *names: str) -> str:
    """A call that hands some of kwargs over as its first arguments."""
    first = ", ".join(f"kwargs['{name}']" for name in names)
    rest = f"**{{k: v for k, v in kwargs.items() if k not in {names!r}}}"
    return f"matplotlib.pyplot.{function}({first}, *args, {rest})"


# The density of the normal distribution in two dimensions.
_BIVARIATE_NORMAL = """\
import matplotlib.mlab
import numpy

def bivariate_normal(X, Y, sigmax=1.0, sigmay=1.0, mux=0.0, muy=0.0, sigmaxy=0.0):
    x, y, rho = (X - mux) / sigmax, (Y - muy) / sigmay, sigmaxy / (sigmax * sigmay)
    z = (x ** 2 - 2 * rho * x * y + y ** 2) / (1 - rho ** 2)
    return numpy.exp(-z / 2) / (2 * numpy.pi * sigmax * sigmay * numpy.sqrt(1 - rho ** 2))

if not hasattr(matplotlib.mlab, 'bivariate_normal'):
    matplotlib.mlab.bivariate_normal = bivariate_normal

"""

# What code of old workflows calls.
_OLD_NAMES = """\
def normpdf(x, mu, sigma):
    \"\"\"The density of the normal distribution.\"\"\"
    return pylab.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * pylab.sqrt(2 * pylab.pi))

def hist(*args, **kwargs):
    \"\"\"As in pylab; the argument normed is called density there.\"\"\"
    if 'normed' in kwargs:
        kwargs['density'] = bool(kwargs.pop('normed'))
    return pylab.hist(*args, **kwargs)

"""

REPAIRS = (
    Repair(
        name="matplotlib: loads",
        since="matplotlib 3.3",
        reason="use() has lost `warn`; and where there is no window, as in an engine, it refuses a backend that needs one.",
        edits=(
            Edit(
                _PACKAGE + "init.py",
                "matplotlib.use('Qt5Agg', warn=False)\n",
                "from vistrails.core.application import is_running_gui\n"
                "matplotlib.use('Qt5Agg' if is_running_gui() else 'Agg')\n",
            ),
        ),
    ),
    Repair(
        name="matplotlib: mlab.bivariate_normal",
        since="matplotlib 3.1",
        reason="It is gone, and the code of old workflows calls it.",
        edits=(
            Edit(
                _PACKAGE + "init.py",
                "import urllib\n\nimport vistrails.core.modules.module_registry\n",
                _BIVARIATE_NORMAL + "import urllib\n\nimport vistrails.core.modules.module_registry\n",
            ),
        ),
    ),
    Repair(
        name="matplotlib: hist(normed) and normpdf in code",
        since="matplotlib 3.1",
        reason="They are gone, and the code of old workflows calls them.",
        edits=(
            Edit(
                _PACKAGE + "bases.py",
                "#base class for 2D plots\n",
                _OLD_NAMES + "#base class for 2D plots\n",
            ),
            Edit(
                _PACKAGE + "bases.py",
                "             'from numpy import *\\n' +\n",
                "             'from numpy import *; '\n"
                "             'from vistrails.packages.matplotlib.bases import hist, normpdf\\n' +\n",
            ),
        ),
    ),
    Repair(
        name="matplotlib: hold",
        since="matplotlib 3.0",
        reason="hold() and the argument `hold` are gone: matplotlib always holds.",
        edits=(
            Edit(_PACKAGE + "bases.py", "        pylab.hold(True)\n", ""),
            Edit(_PACKAGE + "plots.py", "            kwargs['hold'] = val\n", "", times=30),
            Edit(
                _PACKAGE + "plots.py",
                re.compile(r"        if self\.has_input\('hold'\):\n            val = self\.get_input\('hold'\)\n"),
                "",
                times=30,
            ),
        ),
    ),
    Repair(
        name="matplotlib: the cell's toolbar",
        since="matplotlib 3.5",
        reason="NavigationToolbar2 keeps its own state now, so that the Qt class has to be initialised.",
        edits=(
            Edit(
                _PACKAGE + "figure_cell.py",
                "        self.canvas = canvas\n        NavigationToolbar2.__init__(self, canvas)\n",
                "        NavigationToolbar2QT.__init__(self, canvas, parent, False)\n",
            ),
        ),
    ),
    Repair(
        name="matplotlib: the cell toolbar's icons",
        since="matplotlib 3.3",
        reason="rcParams has no 'datapath', and the icons are PNG files.",
        edits=(
            Edit(
                _PACKAGE + "figure_cell.py",
                "os.path.join(matplotlib.rcParams[ 'datapath' ],'images')",
                "os.path.join(matplotlib.get_data_path(),'images')",
            ),
            Edit(_PACKAGE + "figure_cell.py", ".ppm'", ".png'", times=5),
        ),
    ),
    Repair(
        name="matplotlib: the cell's picture",
        since="PyQt5",
        reason="QPixmap does not grab widgets any more.",
        edits=(
            Edit(_PACKAGE + "figure_cell.py", "return QtGui.QPixmap.grab(self.canvas)", "return self.canvas.grab()"),
        ),
    ),
    Repair(
        name="matplotlib: cbook.iterable",
        since="matplotlib 3.3",
        reason="cbook.iterable is gone; numpy has it.",
        edits=(
            Edit(_PACKAGE + "artists.py", "import matplotlib.cbook\n", "import matplotlib.cbook\nimport numpy\n"),
            Edit(_PACKAGE + "artists.py", "matplotlib.cbook.iterable(", "numpy.iterable(", times=54),
        ),
    ),
    Repair(
        name="matplotlib: names of arguments",
        since="matplotlib 3.0 to 3.3",
        reason="bar, barh, stem, annotate, hist and the logarithmic plots have renamed theirs.",
        edits=(
            Edit(
                _PACKAGE + "plots.py",
                "        val = self.get_input('s')\n        kwargs['s'] = val",
                "        val = self.get_input('s')\n        kwargs['text'] = val",
            ),
            Edit(_PACKAGE + "plots.py", "matplotlib.pyplot.bar(*args, **kwargs)", _first("bar", "left")),
            Edit(_PACKAGE + "plots.py", "matplotlib.pyplot.barh(*args, **kwargs)", _first("barh", "bottom")),
            Edit(_PACKAGE + "plots.py", "matplotlib.pyplot.stem(*args, **kwargs)", _first("stem", "x", "y")),
            Edit(
                _PACKAGE + "plots.py",
                re.compile(r"kwargs\['normed'\](?= = val\n(?:.*\n){1,60}?.*pyplot\.hist)"),
                "kwargs['density']",
                times=2,
            ),
            Edit(_PACKAGE + "plots.py", re.compile(r"kwargs\['(base|subs)[xy]'\]"), r"kwargs['\1']", times=8),
            Edit(_PACKAGE + "plots.py", re.compile(r"kwargs\['nonpos[xy]'\]"), "kwargs['nonpositive']", times=4),
        ),
    ),
    Repair(
        name="matplotlib: plot_date",
        since="matplotlib 3.11",
        reason="plot_date is gone; plot takes dates once the axis is told so.",
        edits=(
            Edit(
                _PACKAGE + "plots.py",
                "lines = matplotlib.pyplot.plot_date(*args, **kwargs)",
                "if kwargs.get('xdate', True):\n"
                "            matplotlib.pyplot.gca().xaxis_date(kwargs.get('tz'))\n"
                "        if kwargs.get('ydate', False):\n"
                "            matplotlib.pyplot.gca().yaxis_date(kwargs.get('tz'))\n"
                "        lines = matplotlib.pyplot.plot(*args, kwargs.get('fmt', 'o'))",
            ),
        ),
    ),
    Repair(
        name="matplotlib: contours",
        since="matplotlib 3.10",
        reason="A set of contours has no `collections`: it is one.",
        edits=(
            Edit(
                _PACKAGE + "plots.py", "(contour_set, contour_set.collections)", "(contour_set, [contour_set])", times=2
            ),
        ),
    ),
    Repair(
        name="matplotlib: colour of the axes",
        since="matplotlib 2.2",
        reason="It is called facecolor.",
        edits=(Edit(_PACKAGE + "artists.py", "artist.props['axis_bgcolor']", "artist.props['facecolor']", times=3),),
    ),
    Repair(
        name="matplotlib: points without a colour",
        since="matplotlib 2.0",
        reason=(
            "Edges have their points' colours: with an empty list of colours, as old workflows have it, nothing was drawn, where"
            " there had been black edges."
        ),
        edits=(
            Edit(
                _PACKAGE + "plots.py",
                "pathCollection = matplotlib.pyplot.scatter(*args, **kwargs)",
                "if not len(kwargs.get('c', 'b')):\n"
                "            kwargs = dict({'edgecolors': 'k'}, **kwargs)\n"
                "            kwargs['c'] = 'none'\n"
                "        pathCollection = matplotlib.pyplot.scatter(*args, **kwargs)",
            ),
        ),
    ),
    Repair(
        name="matplotlib: pie",
        since="matplotlib 3.11",
        reason="pie returns a PieContainer.",
        edits=(
            Edit(
                _PACKAGE + "plots.py",
                "output = matplotlib.pyplot.pie(*args, **kwargs)",
                "output = tuple(matplotlib.pyplot.pie(*args, **kwargs))",
            ),
        ),
    ),
)
