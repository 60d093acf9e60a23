"""Stands in for the part of the internet that VisTrails' examples load data from and that is gone: a proxy for HTTP; and for files.

The data are made here, of the kind that the examples expect: volumes, grids and surfaces by VTK, tables as text. What is not
known is answered as not found, so that nothing reaches the real internet.
"""

from __future__ import annotations

import csv
import http.server
import io
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import medical_stand_ins
import numpy as np
from vtk_stand_ins import logo, poly, slices, tetrahedra, vessel, vtk_data, zipped

# Subway stations by name, one of which an example names, with the spaces that it has there.
YANKEES = "161ST STREET-YANKEE STADIUM   "
STATIONS = {YANKEES if number == 27 else f"Station {number}": number for number in range(40)}


@contextmanager
def proxy() -> Iterator[str]:
    """A proxy that runs in the background; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = answer(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


_made: dict[str, bytes] = {}
_making = threading.Lock()


def answer(url: str) -> bytes | None:
    """Return what is at an address, or None."""
    parts = urllib.parse.urlsplit(url)
    asked = urllib.parse.parse_qs(parts.query)
    name = asked.get("id", [Path(parts.path).name])[0]
    if name.startswith("fares_"):
        return _fares(Path(name).stem.removeprefix("fares_"))
    if name == "SOS":
        return _tides(asked["observedProperty"][0])
    for known, make in _SITES.items():
        if name.startswith(known):
            with _making:
                if known not in _made:
                    _made[known] = make()
                return _made[known]
    return None


def files() -> dict[str, bytes]:
    """The files that examples read from where their authors had them, and that no package of VisTrails holds: by relative path."""
    return {
        "vistrails_logo.png": logo(),
        "../examples/data/anon_4877_unq.vtk": medical_stand_ins.chest("unq"),
        "../examples/data/anon4877_0.req.vtk": medical_stand_ins.chest("req"),
        **slices(),
    }


# ---- tables ----


def _fares(week: str) -> bytes:
    """What was sold at subway stations in a week: more by the stadium while baseball is played."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["Fares", "made for a test", "week ending", week, ""])
    table.writerow([""] * 5)
    table.writerow(["REMOTE", "STATION", "FF", "SEN/DIS", "30-D UNL"])
    for station, number in STATIONS.items():
        full = 15000 + 9000 * (number % 9) + 700 * (number * int(week[-2:]) % 13)
        if station == YANKEES and 4 <= int(week[2:4]) <= 10:
            full += 60000
        table.writerow([f"R{number:03}", station, full, number, full // 8])
    return text.getvalue().encode()


def _stations() -> bytes:
    """Where subway stations are, on lines from the south-west to the north-east."""
    lines = ("Broadway", "8 Av", "Concourse")
    return json.dumps(
        {
            station: {
                "lat": 40.64 + number / 150,
                "lng": -74.02 + number / 220 + 0.04 * (number % 3 - 1),
                "line": lines[number % 3],
            }
            for station, number in STATIONS.items()
        }
    ).encode()


def _tides(property_: str) -> bytes:
    """What a station measures at the sea in a day."""
    text = io.StringIO()
    table = csv.writer(text)
    where = ["station_id", "sensor_id", "latitude (degree)", "longitude (degree)", "date_time"]
    wind = property_ == "winds"
    what = (
        ["wind_from_direction", "wind_speed", "wind_speed_of_gust", "quality_flags"]
        if wind
        else ["water_surface_height", "datum_id", "vertical_position", "sigma", "quality_flags"]
    )
    table.writerow(where + what)
    for hour in range(24):
        at = ["urn:ioos:station:NOAA.NOS.CO-OPS:1", "A1", 41.8, -71.4, f"2008-05-23T{hour:02}:00:00Z"]
        measured = [10 * hour, 3 + hour / 8, 5 + hour / 8, "0;0"]
        height = [round(float(np.sin(hour / 2)), 3), "MLLW", 1.5, 0.01, "0;0;0;0"]
        table.writerow(at + (measured if wind else height))
    return text.getvalue().encode()


def _weather() -> bytes:
    degrees = np.random.default_rng(1).normal(15, 8, 200)
    return zipped({"temp_precip.dat": "".join(f"{degree:.1f},{degree / 2:.1f}\n" for degree in degrees).encode()})


def _classes() -> bytes:
    leaves = "".join(f'<node id="leaf {number}" size="{number + 1}"/>' for number in range(12))
    return (
        f'<?xml version="1.0"?><tree><node id="one" size="1">{leaves}</node><node id="two" size="2"/></tree>'.encode()
    )


_SITES: dict[str, Callable[[], bytes]] = {
    "stationlocations_dict.json": _stations,
    "weather_data.zip": _weather,
    "vtkclasses.xml": _classes,
    "vtkdata-5.0": vtk_data,
    "head.120.vtk": medical_stand_ins.head,
    "carotid.vtk": vessel,
    "spx.vtk": tetrahedra,
    "torus.vtk": poly,
    "gktbhFA.vtk": lambda: medical_stand_ins.brain("anisotropy"),
    "gktbhL123.vtk": lambda: medical_stand_ins.brain("colour"),
    "eeg.dat": lambda: np.random.default_rng(1).normal(0, 1, (800, 4)).astype("<f8").tobytes(),
    "s1045.ima": lambda: (np.add.outer(np.arange(256), np.arange(256)) * 8).astype("<u2").tobytes(),
    "table_7_3.csv": lambda: b"a,b\n1,2\n3,4\n",
}
