"""Modules that do what the parity tests need."""

import copy
import os
import time
from urllib.parse import unquote

from vistrails.core.modules.basic_modules import Constant
from vistrails.core.modules.config import CIPort, IPort, OPort
from vistrails.core.modules.vistrails_module import (
    InvalidOutput,
    Module,
    ModuleConnector,
    ModuleError,
    ModuleErrors,
    ModuleSuspended,
    NotCacheable,
)
from vistrails.core.vistrail.job import JobMixin
from vistrails.packages.controlflow.fold import FoldWithModule

from parallelflow.map.module import ParallelFold

from .values import Measure


def _note(path, text):
    """Add a line to a file, as a whole even when several processes do."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (text + "\n").encode())
    os.close(descriptor)


class Held(NotCacheable, Module):
    """Gives a value that a test holds in its own process."""

    _input_ports = [IPort("key", "basic:String"), IPort("tally", "basic:String", optional=True)]
    _output_ports = [
        OPort("value", "basic:Variant"),
        OPort("list", "basic:List"),
        OPort("module", "basic:Module"),
        OPort("items", "basic:Variant", depth=1),
        OPort("table", "basic:Variant", depth=2),
        OPort("number", "basic:Float"),
        OPort("numbers", "basic:Float", depth=1),
    ]

    def compute(self):
        import parity_values

        if self.has_input("tally"):
            _note(self.get_input("tally"), "Held")
        value = parity_values.HELD[self.get_input("key")]
        if isinstance(value, parity_values.Makes):
            value = value.make()
        for port in ("value", "list", "module", "items", "table", "number", "numbers"):
            self.set_output(port, value)


class Keeps(NotCacheable, Module):
    """Keeps in VisTrails' own process what it gets; an engine cannot run it."""

    needs_window = True
    _input_ports = [IPort("value", "basic:Variant"), IPort("other", "basic:Variant"), IPort("text", "basic:String")]

    def compute(self):
        import parity_values

        got = {port: self.get_input(port) for port in ("value", "other", "text") if self.has_input(port)}
        parity_values.HELD.setdefault("kept", []).append(got)


class Echo(Module):
    """Gives back what it gets, on ports of many types."""

    _input_ports = [
        IPort("value", "basic:Variant"),
        IPort("module", "basic:Module"),
        IPort("items", "basic:Variant", depth=1),
        IPort("table", "basic:Variant", depth=2),
        IPort("list", "basic:List"),
        IPort("file", "basic:File"),
        IPort("path", "basic:Path"),
        IPort("directory", "basic:Directory"),
        IPort("color", "basic:Color"),
        IPort("text", "basic:String"),
        IPort("whole", "basic:Integer"),
        IPort("number", "basic:Float"),
        IPort("truth", "basic:Boolean"),
        IPort("dictionary", "basic:Dictionary"),
        CIPort("pair", "basic:String, basic:Integer"),
        IPort("measure", "Measure"),
        IPort("other", "basic:Variant"),
        IPort("tally", "basic:String", optional=True),
        IPort("standard", "basic:Integer", default=7),
    ]
    _output_ports = [
        OPort("value", "basic:Variant"),
        OPort("all", "basic:Dictionary"),
        OPort("kind", "basic:String"),
    ]

    def compute(self):
        if self.has_input("tally"):
            _note(self.get_input("tally"), "Echo")
        ports = [port for port in self.inputPorts if port != "tally"]
        got = {port: self.get_input(port) for port in ports}
        first = next((port for port in ports if port != "other"), None)
        value = got.get(first)
        self.set_output("value", value)
        self.set_output("all", dict(sorted(got.items())))
        self.set_output("kind", f"{type(value).__module__}.{type(value).__qualname__}")


class Uncached(NotCacheable, Echo):
    """The same, never taken from the cache."""


class Lists(Module):
    """Gives all that arrives on a port, connection by connection."""

    _input_ports = [IPort("value", "basic:Variant"), IPort("other", "basic:Variant"), IPort("text", "basic:String")]
    _output_ports = [OPort("all", "basic:List")]

    def compute(self):
        self.set_output("all", [self.force_get_input_list(port) for port in ("value", "other", "text")])


class Copies(Module):
    """Runs a copy of itself on what another module computes only then, and adds what it has got itself."""

    _input_ports = [IPort("value", "basic:Integer"), IPort("other", "basic:Integer")]
    _output_ports = [OPort("value", "basic:Integer")]

    source = None

    def compute(self):
        value = self.get_input("value") + self.get_input("other")
        if self.source is None:
            again = copy.copy(self)
            again.computed, again.had_error = False, False
            again.source = Later(value)
            again.inputPorts["value"] = [ModuleConnector(again.source, "value", self.input_specs["value"])]
            again.logging = again.source.logging
            again.update()
            value += again.get_output("value")
        self.set_output("value", value)


class Later(Module):
    """Has no output before it is computed. Not for workflows."""

    def __init__(self, value=0):
        Module.__init__(self)
        self.later = value

    def compute(self):
        self.set_output("value", 100 * self.later)


class Connects(Module):
    """Connects something while it computes, and has it run."""

    _input_ports = [IPort("value", "basic:Integer"), IPort("more", "basic:Integer")]
    _output_ports = [OPort("value", "basic:Integer")]

    def compute(self):
        self.set_input_port("more", ModuleConnector(Later(self.get_input("value")), "value", self.input_specs["more"]))
        self.update_upstream()
        self.set_output("value", self.get_input("more"))


class Helped(Module):
    """Has a module of another class do its work, under its own name."""

    _input_ports = [IPort("value", "basic:Integer")]
    _output_ports = [OPort("value", "basic:Integer")]

    def compute(self):
        helper = Counts()
        helper.id, helper.logging = self.id, self.logging
        helper.inputPorts["value"] = self.inputPorts["value"]
        helper.update()
        self.set_output("value", helper.get_output("value"))


class Ratio(Constant):
    """A constant of this package's own: two numbers with a colon between them."""

    default_value = (1, 1)

    @staticmethod
    def translate_to_python(text):
        return tuple(int(part) for part in text.split(":"))

    @staticmethod
    def translate_to_string(value):
        return f"{value[0]}:{value[1]}"

    @staticmethod
    def validate(value):
        return isinstance(value, tuple) and len(value) == 2


class Scales(Module):
    """Multiplies by a ratio."""

    _input_ports = [IPort("value", "basic:Float"), IPort("ratio", "Ratio")]
    _output_ports = [OPort("value", "basic:Float")]

    def compute(self):
        over, under = self.get_input("ratio")
        self.set_output("value", self.get_input("value") * over / under)


class Changes(Module):
    """Changes its input in place."""

    _input_ports = [IPort("value", "basic:Variant"), IPort("other", "basic:Variant")]
    _output_ports = [OPort("value", "basic:Variant")]

    def compute(self):
        value = self.get_input("value")
        value[0] = 99
        self.set_output("value", value)


class Nothing(Module):
    """Says that its output is invalid."""

    _input_ports = [IPort("text", "basic:String")]
    _output_ports = [OPort("value", "basic:Variant")]

    def compute(self):
        self.set_output("value", InvalidOutput)


class Annotates(Module):
    """Adds to the log."""

    _input_ports = [IPort("value", "basic:Variant")]
    _output_ports = [OPort("value", "basic:Variant")]

    def compute(self):
        value = self.get_input("value")
        self.annotate({"seed": str(value), "text": "tab\there, ümläut"})
        self.set_output("value", value)


class Handle:
    """Says whether a job has finished."""

    def __init__(self, number):
        self.number = number

    def finished(self):
        return False

    def __eq__(self, other):
        return type(other) is type(self) and other.number == self.number

    __hash__ = None


class Suspends(Module):
    """Is suspended for odd numbers."""

    _input_ports = [IPort("value", "basic:Integer"), IPort("tally", "basic:String", optional=True)]
    _output_ports = [OPort("value", "basic:Integer")]

    def compute(self):
        value = self.get_input("value")
        if self.has_input("tally"):
            _note(self.get_input("tally"), "Suspends")
        if value % 2:
            raise ModuleSuspended(self, f"waiting for {value}", handle=Handle(value))
        self.set_output("value", value)


class FileHandle:
    """A job has finished when its file exists."""

    def __init__(self, path):
        self.path = path

    def finished(self):
        done = os.path.exists(self.path)
        with open(self.path + ".asked", "w"):
            return done


class Job(JobMixin, Module):
    """Submits a job, which has finished when a file exists."""

    _input_ports = [
        IPort("value", "basic:Integer"),
        IPort("folder", "basic:String"),
        IPort("tally", "basic:String", optional=True),
    ]
    _output_ports = [OPort("value", "basic:Integer")]

    def _note(self, text):
        if self.has_input("tally"):
            _note(self.get_input("tally"), text)

    def job_read_inputs(self):
        self._note("read")
        return {"value": self.get_input("value"), "folder": self.get_input("folder")}

    def job_start(self, params):
        self._note("start")
        params["path"] = os.path.join(params["folder"], f"done{params['value']}")
        return params

    def job_get_handle(self, params):
        return FileHandle(params["path"])

    def job_finish(self, params):
        self._note("finish")
        params["result"] = params["value"] * 10
        return params

    def job_set_results(self, params):
        self.set_output("value", params["result"])

    def job_name(self):
        return "job"


class Awkward(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, first, second):
        import threading

        super().__init__(f"awkward {first}")
        self.lock = threading.Lock()


class Fails(Module):
    """Fails in the way that its element says."""

    _input_ports = [IPort("value", "basic:String"), IPort("tally", "basic:String", optional=True)]
    _output_ports = [OPort("value", "basic:String"), OPort("unset", "basic:String")]

    def compute(self):
        how = self.get_input("value")
        if self.has_input("tally"):
            _note(self.get_input("tally"), "Fails")
        self.set_output("value", how)
        if how == "module error":
            raise ModuleError(self, "this cannot be\ndone: ümläut")
        if how == "module errors":
            raise ModuleErrors([ModuleError(self, "first"), ModuleError(self, "second")])
        if how == "abort":
            raise ModuleError(self, "stop all", abort=True)
        if how == "trace":
            raise ModuleError(self, "with a trace", errorTrace="my own trace")
        if how == "exception":
            raise ValueError("wrong")
        if how == "empty":
            raise RuntimeError
        if how == "awkward":
            raise Awkward("one", "two")
        if how == "lock in message":
            raise ModuleError(self, str(KeyError("k")))
        if how == "assert":
            assert how == "", "never empty"
        if how == "deep":
            self.compute_deep(0)
        if how == "exit":
            raise SystemExit(3)
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "stop iteration":
            raise StopIteration
        if how == "slow":
            time.sleep(0.05)

    def compute_deep(self, depth):
        return self.compute_deep(depth + 1)


class Scratch(Module):
    """Leaves a file or a directory in the file pool."""

    _input_ports = [IPort("value", "basic:Integer")]
    _output_ports = [OPort("file", "basic:File"), OPort("directory", "basic:Directory")]

    def compute(self):
        value = self.get_input("value")
        pool = self.interpreter.filePool
        output = pool.create_file(prefix="scratch", suffix=".txt")
        with open(output.name, "w") as stream:
            stream.write(f"number {value}")
        self.set_output("file", output)
        folder = pool.create_directory(prefix="folder")
        with open(os.path.join(folder.name, "inside"), "w") as stream:
            stream.write(f"number {value}")
        self.set_output("directory", folder)


class Reads(Module):
    """Reads a file."""

    _input_ports = [IPort("file", "basic:File"), IPort("name", "basic:String")]
    _output_ports = [OPort("text", "basic:String")]

    def compute(self):
        name = self.get_input("file").name if self.has_input("file") else self.get_input("name")
        with open(name) as stream:
            self.set_output("text", stream.read())


class Counts(Module):
    """Counts its executions in a file."""

    _input_ports = [
        IPort("value", "basic:Variant"),
        IPort("text", "basic:String"),
        IPort("other", "basic:String"),
        IPort("tally", "basic:String", optional=True),
    ]
    _output_ports = [OPort("value", "basic:Variant"), OPort("other", "basic:String")]

    def compute(self):
        if self.has_input("tally"):
            _note(self.get_input("tally"), "Counts")
        for port in ("value", "text"):
            if self.has_input(port):
                self.set_output("value", self.get_input(port))
                break
        self.set_output("other", self.force_get_input("other"))


class CountsAlways(NotCacheable, Counts):
    """Counts its executions, never taken from the cache."""


class Holds(Module):
    """Takes what comes, so that a test can see it."""

    _input_ports = [IPort("value", "basic:Variant"), IPort("list", "basic:List"), IPort("module", "basic:Module")]
    _output_ports = [OPort("value", "basic:Variant"), OPort("list", "basic:List")]

    def compute(self):
        if self.has_input("list"):
            self.set_output("list", self.get_input("list"))
        if self.has_input("value"):
            self.set_output("value", self.get_input("value"))


class Takes(Module):
    """Uses a module as a value: reads what it has computed."""

    _input_ports = [IPort("value", "basic:Integer"), IPort("module", "basic:Module")]
    _output_ports = [OPort("value", "basic:Variant")]

    def compute(self):
        other = self.get_input("module")
        self.set_output("value", [self.get_input("value"), type(other).__name__, other.get_output("value")])


class Notes(Module):
    """Notes on itself what it gets, and gives itself in many ways."""

    _input_ports = [IPort("value", "basic:Variant"), IPort("preset", "basic:String")]
    _output_ports = [
        OPort("value", "Notes"),
        OPort("list", "basic:List"),
        OPort("dictionary", "basic:Dictionary"),
        OPort("method", "basic:Variant"),
        OPort("function", "basic:Variant"),
        OPort("pair", "basic:Variant"),
        OPort("helper", "basic:Variant"),
    ]

    noted = None

    def compute(self):
        self.noted = self.get_input("value")
        self.myself = self
        self.children = {"other": Later(self.noted)}
        self.set_output("value", self)
        self.set_output("list", [self, self.noted, self])
        self.set_output("dictionary", {"self": self})
        self.set_output("method", self.told)
        self.set_output("function", lambda: (self.noted, self.told()))
        self.set_output("pair", (copy.copy(self), self))
        self.set_output("helper", self.children["other"])

    def told(self):
        return f"told {self.noted} {self.force_get_input('preset')}"


class Locks(Notes):
    """Notes something that cannot be pickled, too."""

    def compute(self):
        import threading

        Notes.compute(self)
        self.lock = threading.Lock()


class Runs(Module):
    """Runs code that comes on a port, in its own way."""

    _input_ports = [IPort("source", "basic:String", optional=True), IPort("i", "basic:Integer")]
    _output_ports = [OPort("o", "basic:Integer")]

    def compute(self):
        names = {"i": self.get_input("i")}
        exec(unquote(self.get_input("source")), names)
        self.set_output("o", names["o"])


class Own(Module):
    """Gives a value of a class that lives in this package."""

    _input_ports = [IPort("value", "basic:Float")]
    _output_ports = [OPort("value", "Measure")]

    def compute(self):
        self.set_output("value", Measure(self.get_input("value"), "m"))


class Lengths(FoldWithModule):
    """Gives the elements by what the function gave for them."""

    _output_ports = [OPort("Result", "basic:Dictionary")]

    def setInitialValue(self):
        self.initialValue = {}

    def operation(self):
        self.partialResult.setdefault(self.elementResult, []).append(self.element)


class ParallelLengths(ParallelFold, Lengths):
    """The same, on the cluster."""


_modules = [
    (MeasureModule, {"name": "Measure"})
    for MeasureModule in [
        type(
            "Measure",
            (Module,),
            {
                "_output_ports": [OPort("value", "Measure")],
                "validate": staticmethod(lambda value: isinstance(value, Measure)),
            },
        )
    ]
] + [
    Held,
    Keeps,
    Lengths,
    ParallelLengths,
    Echo,
    Uncached,
    Lists,
    Copies,
    Connects,
    Helped,
    Ratio,
    Scales,
    Changes,
    Nothing,
    Annotates,
    Suspends,
    Job,
    Fails,
    Scratch,
    Reads,
    Counts,
    CountsAlways,
    Holds,
    Takes,
    Notes,
    Locks,
    Runs,
    Own,
]
