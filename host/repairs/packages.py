"""VisTrails' other bundled packages, each with the library that it is for."""

from __future__ import annotations

import re

from host.repairs.edits import Edit, Repair

_PACKAGE = "packages/persistence/"

_OPENER = """\
import ssl
import urllib.request


def build_opener(*handlers, **kwargs):
    # Keyword-only argument 'insecure'
    if kwargs.pop('insecure', False):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        handlers += (urllib.request.HTTPSHandler(context=context),)
    return urllib.request.build_opener(*handlers, **kwargs)
"""

REPAIRS = (
    Repair(
        name="persistence: schema",
        since="Debian",
        reason="Debian's package lacks schema.sql.",
        edits=(
            Edit(
                _PACKAGE + "db_utils.py",
                "            self.run_sql_file(cur, os.path.join(os.path.dirname(\n"
                "                        os.path.abspath(__file__)), 'schema.sql'))\n",
                "            cur.execute('create table file (id text, name text, tags text, user text, date_created"
                " text, '\n"
                "                        'date_modified text, content_hash text, version text, signature text, type"
                " text)')\n"
                "            cur.execute('create index signature_idx on file(signature)')\n",
            ),
        ),
    ),
    Repair(
        name="persistence: dulwich",
        since="dulwich 1.0",
        reason=(
            "dulwich takes and gives bytes, calls what reads an object by its id __getitem__, and has moved what"
            " commits into WorkTree."
        ),
        edits=(
            Edit(
                _PACKAGE + "repo.py",
                "Repo.init(path, not os.path.exists(path))",
                "Repo.init(path, mkdir=not os.path.exists(path))",
            ),
            Edit(
                _PACKAGE + "repo.py",
                "        commit = self.repo[version]\n",
                "        commit = self.repo[os.fsencode(version)]\n",
            ),
            Edit(
                _PACKAGE + "repo.py",
                "        commit = self._get_commit(version)\n",
                "        commit = self._get_commit(version)\n        name = os.fsencode(name)\n",
                times=4,
            ),
            Edit(_PACKAGE + "repo.py", "self.repo.tree(commit.tree)", "self.repo[commit.tree]", times=4),
            Edit(_PACKAGE + "repo.py", "self.repo.get_blob(blob_sha)", "self.repo[blob_sha]"),
            Edit(
                _PACKAGE + "repo.py",
                "os.path.join(out_dirname, entry.path)",
                "os.path.join(out_dirname, os.fsdecode(entry.path))",
            ),
            Edit(_PACKAGE + "repo.py", "        return tree[name][1]\n", "        return tree[name][1].decode()\n"),
            Edit(_PACKAGE + "repo.py", "iter(read_chunk,'')", "iter(read_chunk, b'')"),
            Edit(
                _PACKAGE + "repo.py",
                re.compile(r"tree\.add\(entry, mode, (.)hash\)"),
                r"tree.add(os.fsencode(entry), mode, \1hash)",
                times=2,
            ),
            Edit(
                _PACKAGE + "repo.py",
                "            return GitRepo.compute_tree_hash(path)\n",
                "            return GitRepo.compute_tree_hash(path).decode()\n",
            ),
            Edit(
                _PACKAGE + "repo.py",
                "            return GitRepo.compute_blob_hash(path)\n",
                "            return GitRepo.compute_blob_hash(path).decode()\n",
            ),
            Edit(
                _PACKAGE + "repo.py",
                "paths=[path])\n        return iter(walker).next().commit.id\n",
                "paths=[os.fsencode(path)])\n        return next(iter(walker)).commit.id.decode()\n",
            ),
            Edit(
                _PACKAGE + "repo.py",
                "            self.repo.stage(filename)\n",
                "            self.repo.get_worktree().stage(filename)\n",
            ),
            Edit(
                _PACKAGE + "repo.py",
                "self.repo.do_commit('Updated %s' % filename)\n        return commit_id\n",
                "self.repo.get_worktree().commit(('Updated %s' % filename).encode())\n"
                "        return commit_id.decode()\n",
            ),
        ),
    ),
    Repair(
        name="persistence: signatures",
        since="any",
        reason="Signatures are bytes.",
        edits=(
            Edit(
                _PACKAGE + "init.py",
                "[current_hash, str(ref.id),\n                                          str(ref.version)])",
                "[current_hash, str(ref.id).encode(),\n"
                "                                          str(ref.version).encode()])",
            ),
            Edit(_PACKAGE + "compute_hash.py", "sha_hasher.update(fname)", "sha_hasher.update(os.fsencode(fname))"),
        ),
    ),
    Repair(
        name="persistent_archive: its viewer",
        since="PyQt5",
        reason=(
            "file_archive's viewer is for PyQt4, and ends the process if that is missing: VisTrails, when the"
            " package is enabled."
        ),
        edits=(
            Edit(
                "packages/persistent_archive/init.py",
                "    from .ui import show_viewer\n    return",
                "    def show_viewer():\n        from .ui import show_viewer\n        show_viewer()\n    return",
            ),
            Edit(
                "packages/persistent_archive/ui.py",
                "import file_archive.viewer\nfrom file_archive.viewer import StoreViewerWindow\n",
                "try:\n"
                "    import file_archive.viewer\n"
                "except SystemExit:\n"
                '    raise ImportError("file_archive\'s viewer needs PyQt4")\n'
                "from file_archive.viewer import StoreViewerWindow\n",
            ),
        ),
    ),
    Repair(
        name="sklearn",
        since="scikit-learn 0.18 to 1.3",
        reason="Modules were renamed, and classes that need arguments are now among the estimators that are found.",
        edits=(
            Edit(
                "packages/sklearn/init.py",
                "from sklearn.cross_validation import train_test_split, cross_val_score\n"
                "from sklearn.metrics import SCORERS, roc_curve\n"
                "from sklearn.grid_search import GridSearchCV as _GridSearchCV\n",
                "from sklearn.model_selection import train_test_split, cross_val_score, \\\n"
                "    GridSearchCV as _GridSearchCV\n"
                "from sklearn.metrics import get_scorer, roc_curve\n",
            ),
            Edit(
                "packages/sklearn/init.py",
                "from sklearn.utils.testing import all_estimators\n",
                "from sklearn.utils import all_estimators as _all_estimators\n\n\n"
                "def all_estimators(**kwargs):\n"
                "    return [(name, Est) for name, Est in _all_estimators(**kwargs)\n"
                "            if all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)\n"
                "                   for p in inspect.signature(Est).parameters.values())]\n",
            ),
            Edit("packages/sklearn/init.py", "import numpy as np\n", "import inspect\nimport numpy as np\n"),
            Edit(
                "packages/sklearn/init.py", 'SCORERS[self.get_input("metric")]', 'get_scorer(self.get_input("metric"))'
            ),
            Edit(
                "packages/sklearn/init.py",
                "grid.grid_scores_",
                "[(params, score, None) for params, score in\n"
                "                                       zip(grid.cv_results_['params'],"
                " grid.cv_results_['mean_test_score'])]",
            ),
        ),
    ),
    Repair(
        name="sklearn: parameters that have another name",
        since="scikit-learn 0.21 to 1.5",
        reason=(
            "Old workflows, whose package has the same version, set them by the old name. It is a port, too, where an estimator"
            " has the new one."
        ),
        edits=(
            Edit(
                "packages/sklearn/init.py",
                "def try_convert(input_string):\n",
                "renamed = {'n_iter': 'max_iter', 'affinity': 'metric', 'base_estimator': 'estimator'}\n\n\n"
                "def old_names(Estimator):\n"
                "    names = Estimator().get_params()\n"
                "    return dict((old, new) for old, new in renamed.items()\n"
                "                if new in names and old not in names)\n\n\n"
                "def try_convert(input_string):\n",
            ),
            Edit(
                "packages/sklearn/init.py",
                "                        in est.get_params()])\n",
                "                        in list(est.get_params()) + list(old_names(Estimator))])\n",
            ),
            Edit(
                "packages/sklearn/init.py",
                "        params = dict([(p, try_convert(self.get_input(p))) for p in self.inputPorts\n",
                "        old = old_names(self._estimator_class)\n"
                "        params = dict([(old.get(p, p), try_convert(self.get_input(p))) for p in self.inputPorts\n",
                times=3,
            ),
        ),
    ),
    Repair(
        name="URL: secure connections",
        since="Python 3.4",
        reason=(
            "Python checks certificates by itself: each download warned that nobody does, and asked for packages that do it in a"
            " way that has ended; `insecure` changed nothing."
        ),
        edits=(
            Edit(
                "packages/URL/https_if_available.py",
                re.compile(r"import urllib\.request, .*?from \.https import \*\n", re.DOTALL),
                _OPENER,
            ),
        ),
    ),
    Repair(
        name="dialogs: PromptIsOkay",
        since="PyQt5",
        reason="Old-style slots.",
        edits=(
            Edit("packages/dialogs/continue_prompt.py", "connect(self, accept)", "connect(self.accept)"),
            Edit("packages/dialogs/continue_prompt.py", "connect(self, reject)", "connect(self.reject)"),
        ),
    ),
    Repair(
        name="mongodb: counting",
        since="pymongo 4",
        reason="Collection.count is gone.",
        edits=(
            Edit(
                "packages/mongodb/init.py",
                "coll.count(self.force_get_input('filter'))",
                "coll.count_documents(self.force_get_input('filter') or {})",
            ),
        ),
    ),
    Repair(
        name="sql",
        since="SQLAlchemy 1.4 and 2.0",
        reason="URL is made by URL.create, a string is no statement, and a row is no mapping.",
        edits=(
            Edit("packages/sql/init.py", "connection.execute(s, inputs)", "connection.exec_driver_sql(s, inputs)"),
            Edit("packages/sql/init.py", "rows = results.fetchall()", "rows = results.mappings().fetchall()"),
            Edit(
                "packages/sql/init.py",
                "self.set_output('resultSet', rows)",
                "self.set_output('resultSet', [tuple(row.values()) for row in rows])",
            ),
            Edit("packages/sql/init.py", "        url = URL(drivername=", "        url = URL.create(drivername="),
        ),
    ),
)
