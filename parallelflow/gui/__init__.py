"""What the user sees of the cluster: the menu's actions and their dialogs. The only place that imports Qt.

- `controller` is behind the menu. It starts actions and owns what outlives them.
- `actions` says for each entry of the menu what is asked, what is done and what is said in the end.
- `flow` runs an action: a generator that yields the dialogs and the background work that it waits for.
- `background` is the only place where something runs off the GUI's thread.
- `*_dialog` and `cluster_window` show a state and return an answer. They know nothing of processes, and can be opened
  alone.
- `dialog` is what all dialogs have in common, `engine_table` the table of engines; `garbage` has Qt's objects die in its thread.
- `exploration` runs the current view's parameter exploration on the cluster.
- `workflow` changes the workflow that is shown: marks modules that loop, and has Maps be of either package. `pipeline_marks` has
  pipelines show the marks.
- `questions` asks what the cluster wants to know, in whichever thread it wants to know it.
- `preferences` reads and writes the values where VisTrails keeps them.
- `texts` holds the words that are used everywhere, and is the way to a translation.

This room may import Qt, VisTrails, `progress`, `marks` and `conversion` of `parallelflow.map`, `parallelflow.explorations`,
`parallelflow.results`, `parallelflow.cluster`, `parallelflow.threads` and `parallelflow.texts`.
"""
