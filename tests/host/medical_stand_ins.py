"""Stand-ins for the volumes of heads, chests and brains that examples show: bodies made by formulae, where the cameras look.

What lies in a volume is known by its depth below its own surface, in the unit of its places; edges are as soft as a voxel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from vtk_stand_ins import named, written

# What a chest is made of: where workflows that read `anon_4877_unq.vtk` begin to show something else, and those that read
# `anon4877_0.req.vtk`, which has the same in another scale. Some of the latter make bytes of 255 times a value: that is -value
# modulo 256, and falls into the same part of their transfer function.
_AIR, _LUNG, _VESSEL, _LESION, _FLESH, _BONE = range(6)
_UNQ = np.array([0, 400, 620, 745, 980, 1500], "int16")
_REQ = np.array([-2304, -1072, 156, 924, 1645, 3896], "int16")


def chest(scale: str) -> bytes:
    """A chest, whose slices are scaled by 2.75 by who shows them. Its back has large y, its shoulders have large z.

    :param scale: "unq" or "req"; whose values
    """
    spacing = (8, 8, 2.5)
    x, y, z = _places((64, 64, 44), (0, 0, 0), spacing)
    x, y, height = x - 256, y - 256, z / 107.5
    matter = np.full(x.shape, _AIR)

    def put(what: int, depth: Any) -> None:
        matter[depth > 0] = what

    put(_FLESH, _ball(x, y, 0 * z, (0, 0, 0), (245, 185, 1)))
    ribs = np.abs(_ball(x, y, 0 * z, (0, 0, 0), (218, 160, 1))) < 7
    put(_BONE, np.where(ribs & (np.sin(40 * height + 3 * np.abs(x) / 218) > 0.2), 1, -1))
    for side in (-1, 1):
        wide = 1.05 - 0.5 * height**2
        put(_LUNG, _ball(x, y, 0 * z, (103 * side, -10, 0), (83, 125, 1), wide))
        for across, along, rise in (
            (1, 0.1, 0.3),
            (0.8, -0.8, 0.5),
            (0.7, 0.8, -0.4),
            (0.5, -0.3, -0.9),
            (0.6, 0.4, 0.9),
        ):
            end = (side * (45 + 95 * across), 90 * along, 0.5 + 0.5 * rise)
            put(_VESSEL, _branch(x, y, height, (45 * side, 0, 0.5), end, 13))
    put(_LESION, _ball(x, y, z, (115, -40, 60), (32, 32, 11)))
    put(_FLESH, _ball(x, y, z, (-25, -45, 25), (65, 55, 45)))
    put(_BONE, _ball(x, y, 0 * z, (0, 120, 0), (34, 34, 1)))
    values = np.choose(matter, {"unq": _UNQ, "req": _REQ}[scale])
    if scale == "unq":  # light falls on what is not even
        values[matter == _LUNG] += (45 * np.sin(x / 12) * np.sin(y / 12) * np.sin(z / 4)).astype("int16")[
            matter == _LUNG
        ]
    return _volume(values, (0, 0, 0), spacing)


def head() -> bytes:
    """A head that looks to small y; its crown has small z. So large that slices through 0, with which workflows begin, cut it."""
    origin, spacing = (-75, -75, -82), (7, 7, 7)
    x, y, z = _places((61, 61, 61), origin, spacing)
    x, y, z = ((place - middle) / 1.45 for place, middle in ((x, 112), (y, 120), (z, 125)))  # in millimetres
    cranium = _ball(x, y, z, (0, 8, -30), (92, 112, 105))
    jaw = _ball(x, y, z, (0, -38, 58), (54, 62, 60))
    neck = np.where(z > 40, _ball(x, y, 0 * z, (0, 30, 0), (58, 60, 1)), -99)
    nose = _ball(x, y, z, (0, -102, 24), (12, 20, 22))
    ears = _ball(np.abs(x), y, z, (92, 12, 15), (10, 18, 30))
    eyes = np.minimum(_ball(np.abs(x), y, z, (34, -88, 0), (24, 26, 19)), np.maximum(cranium, jaw) - 2)
    mouth = _ball(x, y, z, (0, -85, 66), (24, 30, 5))
    skull = np.maximum(cranium, jaw)
    bone = np.minimum(skull - 8, 19 - skull)
    bone = np.minimum(bone, -np.maximum.reduce([eyes, mouth, _ball(x, y, z, (0, -98, 28), (14, 26, 20))]))
    bone = np.maximum(bone, np.where(z > 60, _ball(x, y, 0 * z, (0, 45, 0), (20, 20, 1)), -99))
    folds = 6 * np.sin(x / 5 + 2 * np.sin(z / 9)) * np.sin(y / 6 + 2 * np.sin(x / 11))
    values = np.zeros(x.shape)
    for depth, value in (
        (np.maximum.reduce([skull, neck, nose, ears]), 38),
        (cranium - 22, 56 + folds),
        (_ball(np.abs(x), y, z, (13, 5, -35), (9, 34, 14)), 41),
        (eyes + 4, 45),
        (bone, 130),
        (np.minimum(bone, _ball(x, y, z, (0, -88, 62), (26, 20, 12))), 250),
    ):
        share = np.clip(depth / 5 + 0.5, 0, 1)
        values = values * (1 - share) + value * share
    return _volume(values.astype("uint8"), origin, spacing)


def brain(of: str) -> bytes:
    """Half a brain: how directed its fibres are, or a colour's place in a table, both from 0 to 1.

    :param of: "anisotropy" or "colour"
    """
    x, y, z = _places((32, 41, 41), (0, 0, 0), (1, 2, 2))
    if of == "colour":
        return _volume((0.15 + 0.4 * y / 80 + 0.3 * z / 80).astype("float32"), (0, 0, 0), (1, 2, 2))
    folds = np.sin(y / 3.2 + np.sin(z / 5)) * np.sin(z / 3.2 + 1.5 * np.sin(y / 6 + x / 8))
    inside = np.sqrt(((x - 31) / 31) ** 2 + ((y - 40) / 40) ** 2 + ((z - 40) / 37) ** 2)
    return _volume(np.clip(1.3 - 1.2 * inside + 0.12 * folds, 0, 1).astype("float32"), (0, 0, 0), (1, 2, 2))


def _places(n: tuple[int, int, int], origin: tuple[float, float, float], spacing: tuple[float, float, float]) -> Any:
    """The places of a volume's voxels, as x, y and z by z, y and x."""
    z, y, x = np.mgrid[: n[2], : n[1], : n[0]].astype(float)
    return (origin[axis] + spacing[axis] * index for axis, index in enumerate((x, y, z)))


def _ball(x: Any, y: Any, z: Any, middle: tuple[float, ...], radii: tuple[float, ...], larger: Any = 1.0) -> Any:
    """How deep places are in an ellipsoid, nearly."""
    of_middle = sum(((at - to) / radius) ** 2 for at, to, radius in zip((x, y, z), middle, radii, strict=True))
    return (larger - np.sqrt(of_middle)) * min(radius for radius in radii if radius != 1)


def _branch(x: Any, y: Any, z: Any, begin: tuple[float, ...], end: tuple[float, ...], radius: float) -> Any:
    """How deep places are in a straight vessel that gets thinner; z is a height from 0 to 1 that a chest has."""
    at = [x - begin[0], y - begin[1], 250 * (z - begin[2])]
    way = [end[0] - begin[0], end[1] - begin[1], 250 * (end[2] - begin[2])]
    share = np.clip(sum(a * w for a, w in zip(at, way, strict=True)) / sum(w * w for w in way), 0, 1)
    away = np.sqrt(sum((a - share * w) ** 2 for a, w in zip(at, way, strict=True)))
    return radius * (1 - 0.6 * share) - away


def _volume(values: Any, origin: tuple[float, float, float], spacing: tuple[float, float, float]) -> bytes:
    """VTK's file of values by z, y and x."""
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(values.shape))
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.GetPointData().SetScalars(named(values.ravel(), "scalars"))
    writer = vtk.vtkStructuredPointsWriter()
    writer.SetFileTypeToBinary()
    return written(writer, image)
