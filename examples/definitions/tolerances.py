"""How exactly an orbit is computed at each of some tolerances: a list that grows, of which only what is new runs."""

from __future__ import annotations

from building import CONTROL_FLOW, PARALLEL_FLOW, Default, Vistrail

TOLERANCES = [1e-5, 1e-6, 1e-7, 1e-8]

ORBIT = """
    cache_this()  # the outputs follow from the inputs, so that they may be kept

    import numpy as np
    from scipy.integrate import solve_ivp

    # A small body near two heavy ones that circle each other (Arenstorf, AIAA Journal 1, 1963): its orbit closes.
    mass, period = 0.012277471, 17.0652165601579625588917206249


    def motion(time, state):
        x, y, vx, vy = state
        to_large = ((x + mass) ** 2 + y**2) ** 1.5
        to_small = ((x - 1 + mass) ** 2 + y**2) ** 1.5
        ax = x + 2 * vy - (1 - mass) * (x + mass) / to_large - mass * (x - 1 + mass) / to_small
        ay = y - 2 * vx - (1 - mass) * y / to_large - mass * y / to_small
        return vx, vy, ax, ay


    start = np.array([0.994, 0, 0, -2.00158510637908252240537862224])
    solved = solve_ivp(motion, (0, period * periods), start, "RK23", rtol=tolerance, atol=1e-12)
    gap = float(np.hypot(*(solved.y[:2, -1] - start[:2])))
    orbit = (tolerance, len(solved.t) - 1, gap)
"""

REPORT = """
    lines = [f"{'tolerance':>9}  {'steps':>5}  {'gap where the orbit should close':>32}"]
    lines += [f"{tolerance:9.0e}  {steps:5}  {gap:32.1e}" for tolerance, steps, gap in orbits]
    report = chr(10).join(lines)
"""

MEANING = """
    Computes a closed orbit at each of some tolerances, and how far it misses its beginning. Execute it, then change the list
    of tolerances and execute again.
"""


def build(vistrail: Vistrail) -> None:
    """Add three versions: with each Map, and with one tolerance more."""
    tolerances = vistrail.add("List", (1.2, 4), "Tolerances", value=TOLERANCES)
    orbit = vistrail.add_source(
        (0, 4),
        "Orbit",
        ORBIT,
        {"tolerance": "Float", "periods": "Integer"},
        {"orbit": "List"},
        periods=Default(1, "periods"),
    )
    report = vistrail.add_source((0.6, 1), "Report", REPORT, {"orbits": "List"}, {"report": "String"})
    out = vistrail.add("StandardOutput", (0.6, 0), "Print it")
    vistrail.connect(report, "report", out, "value")
    begun = vistrail.version
    for tag, package, more, notes in (
        ("Serial", CONTROL_FLOW, {}, "This version uses Control Flow's Map: VisTrails computes the whole list again."),
        (
            "Parallel",
            PARALLEL_FLOW,
            {"KeepResults": "all"},
            """
            In this version Parallel Flow's Map keeps what each tolerance gave, because its port KeepResults says 'all': of a list
            that you change it runs what is new. Modules of this kind have to say that VisTrails may keep what they
            give; the first line of the code of Orbit does.
            """,
        ),
    ):
        vistrail.go_back_to(begun)
        ports = {"InputPort": ["tolerance"], "OutputPort": "orbit", **more}
        over = vistrail.add("Map", (0.6, 2.5), "Map over the tolerances", package, **ports)
        vistrail.connect(orbit, "self", over, "FunctionPort")
        vistrail.connect(tolerances, "value", over, "InputList")
        vistrail.connect(over, "Result", report, "orbits")
        vistrail.tag(tag, f"{MEANING}\n\n{notes}")
    vistrail.set(tolerances, value=[*TOLERANCES[1:], 1e-9])
    vistrail.tag(
        "Another tolerance",
        f"{MEANING}\n\nThe version before with a list that has one tolerance less and one more: when you have executed that"
        " version, only one element runs here, and the log has the others as cached.",
    )
