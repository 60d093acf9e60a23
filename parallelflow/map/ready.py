"""What engines make of a plan with modules: its pipeline in an interpreter of its own, in a VisTrails that is as the run wants it.

`parallelflow.map.engine_plan` is how a Map's elements run in it; what else runs elements has a kind of its own.

May import VisTrails and the map room. Nothing of VisTrails is imported before a plan arrives.
"""

from __future__ import annotations

import atexit
import os
import pickle
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from parallelflow.map import loaded_code, shared_sources
from parallelflow.map.chance import chance
from parallelflow.map.engine_vistrails import add_subworkflows, enable_package, have_a_folder, host
from parallelflow.map.figures import Figures
from parallelflow.map.frame import Frame
from parallelflow.map.outcomes import ChunkOutcome, Host
from parallelflow.map.own_folder import move_pool
from parallelflow.map.seeds import Generators

if TYPE_CHECKING:
    from parallelflow.map.interrupts import Interrupts
    from parallelflow.map.loaded_code import Loaded
    from parallelflow.map.plan import Spec

# The run that VisTrails here is configured for.
_configured_for = b""


class Ready(Frame):
    """A plan with modules that can run in this process.

    :param content: what it says: packages, subworkflows, the pipeline and its parameters, and folders, as
        `parallelflow.map.plan.Content` has them.
    :param kept: the same, packed, as `shared_memory.opened` keeps it.
    :raises Refused: when it cannot run here.
    """

    def __init__(self, content: Any, kept: Sequence[Any]):
        from vistrails.core.interpreter.cached import CachedInterpreter
        from vistrails.core.vistrail.pipeline import Pipeline
        from vistrails.db.services.io import unserialize

        from parallelflow.map.plan import restore_parameters

        super().__init__(content, kept)
        for package in content.packages:
            enable_package(package)
        add_subworkflows(content.subworkflows)
        self._interpreter = CachedInterpreter()
        self._take_over_file_pool(content.file_pool)
        self._pipeline: Any = unserialize(content.pipeline, Pipeline.vtType)
        Pipeline.convert(self._pipeline)
        restore_parameters(self._pipeline.module_list, list(content.parameters))
        shared_sources.see_to(self._pipeline.module_list, _code_given(content))
        self._run_info = b""
        self._run: Any = None
        self._generators: Generators
        self._series: Any = None  # a `parallelflow.map.series.Series`
        self._figures = Figures()

    def run(self, indices: Sequence[int], run_info: bytes, packed: Any, interrupts: Interrupts) -> ChunkOutcome:
        """Run a chunk, as `Frame` says."""
        with self._figures.watched():
            return super().run(indices, run_info, packed, interrupts)

    def let_go(self) -> None:
        """Close the figures that the chunk has opened, but for those that may be used again."""
        self._figures.close(self._values_here())

    def _values_here(self) -> Iterator[Any]:
        """The values that modules have here which the next elements may use."""
        for module in self._interpreter._objects.values():
            yield from module.outputPorts.values()

    def host(self) -> Host:
        """Return the machine and process that this is, as the log is to have them."""
        return host()

    def _take_over_file_pool(self, directory: str) -> None:
        """Keep elements' files in VisTrails' own pool where it can be reached, so that they live as long as it does."""
        pool = self._interpreter.filePool
        if os.path.isdir(directory) and os.access(directory, os.W_OK):
            os.rmdir(pool.directory)
            pool.directory = directory
            # The pool is VisTrails': an interpreter that goes away here must not empty it.
            pool.cleanup = lambda: None
        else:
            # On a host that does not share the folder the files stay for as long as the engine.
            if not move_pool(pool):
                atexit.register(pool.cleanup)
            pool.cleanup = lambda: None

    def _enter(self, run_info: bytes) -> None:
        try:
            os.chdir(self.content.folder)  # relative names of files mean the same as in VisTrails
        except OSError:  # it is not there, or may not be entered
            have_a_folder()
        if run_info != self._run_info:
            self._run, self._run_info = pickle.loads(run_info), run_info
            self._generators = Generators(self._run.seeds)
            self._begin_run()
            self._series = None
            self._has_told = False
        self._go_on_with_run()
        if self._run.asked is not None and loaded_code.look():  # what elements load is later than this
            self._has_told = False

    @abstractmethod
    def _begin_run(self) -> None:
        """Forget what an earlier run has left."""

    def _leave(self, outcome: ChunkOutcome) -> None:
        if self._run.asked is not None and outcome.longest >= self._run.asked.shortest:
            outcome.code = self._code()
        outcome.after_series = self._series.after

    def _files_in_series(self) -> int:
        """How many files in series an element writes."""
        return 0

    def _go_on_with_run(self) -> None:
        """Let VisTrails be configured as it is for this run; a chunk of another may have come in between."""
        from vistrails.core.configuration import get_vistrails_configuration

        from parallelflow.map import configuration, series

        global _configured_for
        if _configured_for == self._run_info and self._series is not None:
            return
        configuration.take_over(self._run.configuration)
        get_vistrails_configuration().jobCheckInterval = self._run.job_interval
        if self._series is None:  # what is configured decides how many there are
            shared = series.shared_folder(self.content.file_pool)
            self._series = series.Series(self._run.series, self._files_in_series(), shared)
        series.use(self._series)
        _configured_for = self._run_info

    def _code(self) -> Loaded | None:
        """What code runs here, if there is more of it than what has been told in this run."""
        if not loaded_code.look() and self._has_told:
            return None
        self._has_told = True
        from parallelflow.map import configuration, made_classes

        settings = {each.codepath: configuration.of_loaded_package(each.codepath) for each in self.content.packages}
        return loaded_code.tell(self._run.asked.units, made_classes.in_pipeline(self._pipeline.module_list), settings)

    def _begin_element(self, index: int) -> None:
        super()._begin_element(index)
        self._generators.begin(index)
        chance.begin()
        self._series.begin(index)

    def _drawn(self) -> tuple[bool, bool]:
        """Return from which generators the element has drawn, as `Generators.used` does."""
        # A child that was forked has them, too, and nobody sees what it does with them.
        return (True, True) if chance.has_forked else self._generators.used()


def port_spec(spec: Spec | None) -> Any:
    """Make VisTrails' `PortSpec` of an output port again.

    :param spec: what a plan says of it; None where nothing is known.
    """
    from vistrails.core.vistrail.port_spec import PortSpec

    return spec and PortSpec(
        name=spec.name, type="output", sigstring=spec.sigstring, depth=spec.depth, optional=spec.optional
    )


def _code_given(content: Any) -> dict[int, list[str]]:
    """The code that arrives on modules' ports from upstream, by the modules' ids."""
    return {
        planned.module_id: [
            connector.value
            for connector in planned.connectors
            if connector.port == shared_sources.PORT and isinstance(connector.value, str)
        ]
        for planned in getattr(content, "modules", ())
    }
