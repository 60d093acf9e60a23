"""Results that are kept: what elements of Maps gave, so that they need not run again.

- `file` is how one run's results lie in a file: appended as they arrive, each with a checksum; a torn end is left out.
- `writer` appends to such a file in a thread of its own, and says what trouble there was.
- `store` is the folder with these files: finds what is kept of a plan, evicts, lists and clears.

There is no database and no lock, because home folders lie on NFS: a file is written by one process only, and goes as a whole.
What a key stands for, and what is in a value, this room does not know; it reads files of the user's own only, since whoever
reads a value unpickles it.

This room imports `parallelflow.threads`, `parallelflow.texts` and the standard library, nothing else.
"""
