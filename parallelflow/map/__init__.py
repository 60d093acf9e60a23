"""The map: the modules ``Map``, ``Filter`` and ``For`` and what they are made of.

One element's way, from the list to the log:

- `module` has the VisTrails modules, `looping` what one runs over, and `execution` is one run of it: checks the input, has the
  elements run. `window` knows which modules have to run in VisTrails.
- `conversion` turns Control Flow's loops in a workflow into ours, and ours into Control Flow's.
- `implicit_loops` has VisTrails hand over the loops that modules run by themselves where a list arrives on a port, if they bear a
  mark (`marks`): `implicit_execution` is one run of such a loop, `implicit_chunk` its other half on an engine.
- `work` is what the scheduler runs, as data; `elements` a Map's list as that.
- `plan` gathers everything that is the same for all elements; `needs` says which packages and subworkflows that takes,
  `package_code` whether an engine has the same code of them;
  `configuration` is what goes with one run of it, with the process's `surroundings`.
- `identity` is what kept results are known by: `digests` of values, which `vistrails_values` teaches files and modules and
  `hashing` takes, with `file_contents` for what is in files and `source_code` for what the modules are made of; by
  `loaded_code` an engine says what it has loaded of that; `made_classes` are those that packages make of other files.
  `cacheable` tells in an engine whether VisTrails would take again what a module has computed. `keepable` says what can be kept
  of a run, with the files that `named_files` finds in results.
- `chunks` decides how many elements travel together, and `experience` keeps what earlier runs tell about that.
- `values` turns elements into bytes and back, `stand_ins` modules that are values, `remote_queues`
  queues of jobs on servers, `vtk_data` what VTK gives, `array_data` arrays with gaps. `parts` is how bytes lie that belong
  together, and what is long is done `in_pieces`, so that the window has its turn. `shared_memory` is how large ones come to
  another process of the same host, and `sharing` knows which engines that are. `plan_names` says whether engines have a plan.
- `running` has the work done on the session's cluster: it is what goes round the scheduler.
- `kept` takes elements whose results are kept, and keeps those that come.
- `connected` connects to the cluster, or starts one, without blocking VisTrails' window; `lacking` asks which hosts do not see
  which files.
- `scheduler` sends chunks to engines and brings outcomes back. `state` is all that it knows of the Map, `supply` what is yet to be
  handed out, `crew` the engines and what is on its way to each; `watch` looks after them, and `faults` deals with what goes wrong.
  `deaths` judges who is to blame for engines that die, `autopsy` knows how they ended, `complaints` says it.
- `calls` has a function called for elements, without VisTrails, for `parallelflow.api`; `engine_function` does it in an engine.
- `breaking_off` ends what runs when the Map ends early, and `forgetting` what client and hub keep of it.
- `answers` reads what engines answer, and says what it was about where that cannot be done; `unreadable` finds out why.
- `engine` is what the scheduler calls in an engine: `engine_vistrails` starts VisTrails there, with `shared_files` between its
  packages and those of other engines and `shared_sources` between code in workflows;
  `frame` is what is round a chunk that runs, whatever it is of, `ready` what is round one
  of VisTrails', and `engine_plan` runs a Map's through the serial Map's own loop, which is `chunk_module`, `short_way` leaves
  out what comes to nothing in that, `recorder` notes down what is executed, `seeds` gives each element random numbers of its
  own, `chance` notes when one asks the system for some, `series` its files their numbers, `interrupts` lets SIGINT end an
  element but nothing else, `own_folder` is where temporary files lie that go with the process, `taking_back` gives a chunk back
  that waits there, `figures` closes those of matplotlib's that nobody has any more. `heap` keeps memory for what comes next.
- `streams` are an element's standard output and error, which `drain`, a process beside the engine, reads, and `printed` shows
  them in VisTrails; `left_running` brings what is printed when an element is over, and `warned` has warnings shown once.
  `plain_python` hides from elements that an engine is an IPython kernel.
- `in_order` has elements come into the log, and what they print be shown, in the list's order.
- `outcomes` is what travels back; `provenance` writes it into the workflow's log, and `exports` has VisTrails' graphs of that
  show it; `progress` tells how far it has come;
  `garbage` keeps Python's own housekeeping from getting in the way.

This room may import `parallelflow.cluster`, `parallelflow.results`, `parallelflow.threads`, `parallelflow.texts`, VisTrails and
the standard library; never Qt.
"""
