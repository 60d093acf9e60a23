"""A Group over the rows of a table: how widely a share's price moved on each day, computed by VisTrails' own modules."""

from __future__ import annotations

from building import PYTHON_CALC, Mapped, Vistrail, both_ways

READ = """
    import csv
    from matplotlib import cbook

    # Prices of a share on 65 days of 2003, which come with matplotlib.
    with cbook.get_sample_data("msft.csv") as lines:
        table = list(csv.DictReader(line.decode() if isinstance(line, bytes) else line for line in lines))
    dates = [row["Date"] for row in table]
    rows = [tuple(float(row[name]) for name in ("Open", "High", "Low")) for row in table]
"""

REPORT = """
    ranked = sorted(zip(percents, dates), reverse=True)
    lines = [f"{date}: {percent:.2f} %" for percent, date in ranked[:5]]
    report = f"The widest of {len(percents)} days, from the lowest price to the highest:\\n" + "\\n".join(lines)
"""


def build(vistrail: Vistrail) -> None:
    """Add the workflow, once with each Map."""
    table = vistrail.add_source((1.2, 4), "Read the table", READ, {}, {"rows": "List", "dates": "List"})

    names = ("open", "high", "low")
    ports = {name: vistrail.add("InputPort", (x, 3), name=name) for x, name in enumerate(names)}
    width = vistrail.add("PythonCalc", (1.5, 2), "High - low", PYTHON_CALC, op="-")
    share = vistrail.add("PythonCalc", (0.7, 1), "Of the first price", PYTHON_CALC, op="/")
    percent = vistrail.add("PythonCalc", (0.7, 0), "In percent", PYTHON_CALC, op="*", value2=100.0)
    result = vistrail.add("OutputPort", (0.7, -1), name="percent")
    vistrail.connect(ports["high"], "InternalPipe", width, "value1")
    vistrail.connect(ports["low"], "InternalPipe", width, "value2")
    vistrail.connect(width, "value", share, "value1")
    vistrail.connect(ports["open"], "InternalPipe", share, "value2")
    vistrail.connect(share, "value", percent, "value1")
    vistrail.connect(percent, "value", result, "InternalPipe")
    group = vistrail.group([*ports.values(), width, share, percent, result], "Range of a day")
    vistrail.move(group, (0, 4))

    report = vistrail.add_source(
        (0.8, 1), "The widest days", REPORT, {"percents": "List", "dates": "List"}, {"report": "String"}
    )
    vistrail.connect(table, "dates", report, "dates")
    out = vistrail.add("StandardOutput", (0.8, 0), "Print them")
    vistrail.connect(report, "report", out, "value")
    both_ways(
        vistrail,
        Mapped(
            place=(0, 2),
            label="Map over the rows",
            function=group,
            ports=list(names),
            output="percent",
            elements=(table, "rows"),
            results=(report, "percents"),
        ),
        """
        Runs a Group once per row of a table. A row has three values, and InputPort names three ports, so that each value goes
        to a port of its own.

        The Group is made of PythonCalc modules; engines enable the packages that a Map needs. Rows as cheap as these do not
        pay for a cluster: the serial version is as fast. Rows that take a millisecond or more do pay.
        """,
    )
