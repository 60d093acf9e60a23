"""What workflows can use of the package: a list that is kept in a file."""

import json
import os
import time

from vistrails.core.system import current_dot_vistrails


def keep(number):
    """Add a number to the list."""
    place = os.path.join(current_dot_vistrails(), "kept.json")
    with open(place) as file:
        kept = json.load(file)
    time.sleep(0.03)
    with open(place, "w") as file:
        json.dump([*kept, number], file)
