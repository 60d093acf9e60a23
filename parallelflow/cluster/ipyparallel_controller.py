"""The controller that is started on VisTrails' machine: ipyparallel's, whose hub does not get what elements and results carry.

``python -m parallelflow.cluster.ipyparallel_controller`` takes the same options and reads the same configuration as
``python -m ipyparallel.controller``.

ipyparallel only.
"""

from __future__ import annotations

from ipyparallel.controller.app import IPController
from traitlets import Unicode


class Controller(IPController):
    """ipyparallel's controller, with a relay of ours. One that is configured to use threads has ipyparallel's."""

    mq_class = Unicode("parallelflow.cluster.relay.ProcessRelay")


if __name__ == "__main__":
    Controller.launch_instance()
