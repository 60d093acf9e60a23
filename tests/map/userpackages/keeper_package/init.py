"""Modules that share a store, a database and a cache."""

import json
import os
import sqlite3
import time

from vistrails.core.modules.config import IPort, OPort
from vistrails.core.modules.vistrails_module import Module
from vistrails.core.system import current_dot_vistrails

place = database = None


def initialize():
    """Make the store. Two that do so at once fail."""
    global place, database
    place = os.path.join(current_dot_vistrails(), "keeper")
    if not os.path.isdir(place):
        time.sleep(0.05)
        os.mkdir(place)
        with open(os.path.join(place, "head.json"), "w") as head:
            json.dump([], head)
    database = sqlite3.connect(os.path.join(place, "kept.db"), timeout=0, check_same_thread=False)
    database.execute("CREATE TABLE IF NOT EXISTS kept (value INTEGER)")
    database.commit()


class Keep(Module):
    """Adds a value to what is kept, and writes the same into a file of a fixed name, in place."""

    _input_ports = [IPort("value", "basic:Integer")]
    _output_ports = [OPort("value", "basic:Integer"), OPort("file", "basic:String")]

    def compute(self):
        value = self.get_input("value")
        lock = os.path.join(place, "index.lock")
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL))  # as git does
        try:
            head = os.path.join(place, "head.json")
            with open(head) as file:
                kept = json.load(file)
            time.sleep(0.01)
            with open(head, "w") as file:
                json.dump([*kept, value], file)
            database.execute("INSERT INTO kept VALUES (?)", (value,))
            time.sleep(0.01)
            database.commit()
            cache = os.path.join(place, "cache")
            with open(cache, "w") as file:
                for _ in range(10):
                    file.write("x" * 1000)
                    file.flush()
                    time.sleep(0.002)
        finally:
            os.unlink(lock)
        self.set_output("value", value)
        self.set_output("file", cache)


class KeepLate(Keep):
    """The same, where what is upstream of it runs only when it says so."""

    def update_upstream(self):
        super().update_upstream()


_modules = [Keep, KeepLate]
