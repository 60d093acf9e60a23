"""The controller that is started on VisTrails' machine: ipyparallel's, whose hub does not get what elements and results carry.

``python -m parallelflow.cluster.ipyparallel_controller`` takes the same options and reads the same configuration as
``python -m ipyparallel.controller``.

ipyparallel only.
"""

from __future__ import annotations

from ipyparallel.controller import app
from ipyparallel.controller.dictdb import NoDB


class IPController(app.IPController):
    """ipyparallel's controller, with a relay of ours. It has the same name: options and configuration go by that.

    One that keeps records of tasks has ipyparallel's, for these hold what messages carry; so has one that uses threads.
    """

    def init_schedulers(self) -> None:
        """Start what passes messages on."""
        if issubclass(self.db_class, NoDB) and not self.use_threads:
            self.mq_class = "parallelflow.cluster.relay.ProcessRelay"
        super().init_schedulers()


if __name__ == "__main__":
    IPController.launch_instance()
