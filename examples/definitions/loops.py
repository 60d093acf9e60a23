"""A module that loops by itself: how a magnet loses its order, at each temperature for each strength of the field."""

from __future__ import annotations

from building import Default, Vistrail

MEASURE = """
    import numpy as np

    # Spins on a grid, each turned with the odds that the temperature gives it: the Ising model, on a chessboard's colours in turn.
    random = np.random.default_rng([int(1000 * temperature), int(1000 * field)])
    spins = np.ones((size, size))
    colours = np.indices(spins.shape).sum(0) % 2
    for step in range(2 * steps):
        around = sum(np.roll(spins, shift, axis) for shift in (1, -1) for axis in (0, 1))
        odds = np.exp(-2 * spins * (around + field) / temperature)
        spins[(colours == step % 2) & (random.random(spins.shape) < odds)] *= -1
    magnetisation = float(spins.mean())
    energy = float(-(spins * (sum(np.roll(spins, 1, axis) for axis in (0, 1)) + field)).mean())
"""

REPORT = """
    pairs = [(t, f) for t in temperatures for f in fields]
    lines = ["temperature  field  magnetisation  energy"]
    for (t, f), m, e in zip(pairs, magnetisations, energies):
        lines.append(f"{t:11.2f}  {f:5.2f}  {m:13.3f}  {e:6.3f}")
    report = "\\n".join(lines)
"""

TEMPERATURES = [1.0, 1.5, 2.0, 2.2, 2.4, 2.6, 3.0, 4.0]
FIELDS = [0.0, 0.1]

NOTES = """
    A module that loops by itself: a list arrives on two of its ports, each of which takes one number. VisTrails runs it for each
    pair of them, and its outputs are lists.
"""


def build(vistrail: Vistrail) -> None:
    """Add the workflow, once without the mark and once with it."""
    temperatures = vistrail.add("List", (0, 3), "Temperatures", value=TEMPERATURES)
    fields = vistrail.add("List", (1.4, 3), "Strengths of the field", value=FIELDS)
    inputs = {"temperature": "Float", "field": "Float", "size": "Integer", "steps": "Integer"}
    outputs = {"magnetisation": "Float", "energy": "Float"}
    measure = vistrail.add_source(
        (-0.4, 2), "Let it settle", MEASURE, inputs, outputs, size=Default(64, "size"), steps=Default(400, "steps")
    )
    lists = {"temperatures": "List", "fields": "List", "magnetisations": "List", "energies": "List"}
    report = vistrail.add_source((0.9, 1), "Table", REPORT, lists, {"report": "String"})
    out = vistrail.add("StandardOutput", (0.9, 0), "Print it")
    for source, port in ((temperatures, "temperature"), (fields, "field")):
        vistrail.connect(source, "value", measure, port)
        vistrail.connect(source, "value", report, f"{port}s")
    vistrail.connect(measure, "magnetisation", report, "magnetisations")
    vistrail.connect(measure, "energy", report, "energies")
    vistrail.connect(report, "report", out, "value")
    vistrail.tag("Serial", f"{NOTES}\n\nThis version is as VisTrails runs it: one pair after the other.")
    vistrail.mark(measure)
    vistrail.tag(
        "Parallel",
        f"""{NOTES}

    In this version the module is marked, by Packages > Parallel Flow > Run loops of selected modules in parallel. Its pairs run on
    all engines of the cluster; all else is the same.""",
    )
