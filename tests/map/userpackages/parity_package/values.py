"""A class that lives in a package of the user's."""


class Measure:
    """A number with a unit."""

    def __init__(self, number, unit):
        self.number = number
        self.unit = unit

    def __eq__(self, other):
        return type(other) is type(self) and (other.number, other.unit) == (self.number, self.unit)

    __hash__ = None

    def __repr__(self):
        return f"Measure({self.number!r}, {self.unit!r})"
