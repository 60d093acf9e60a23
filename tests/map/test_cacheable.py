"""Which modules' results may be taken in another session. Without engines."""

from __future__ import annotations

from typing import Any

import pytest
from vistrails.core.modules.basic_modules import PythonSource
from vistrails.core.modules.sub_module import Group
from vistrails.core.modules.vistrails_module import Module, NotCacheable

from parallelflow.map import cacheable, shared_files, shared_sources, stand_ins


class Never(NotCacheable, Module):
    pass


class SaysYes(Module):
    def is_cacheable(self) -> bool:
        return True


class Looks(Module):
    def is_cacheable(self) -> bool:
        return bool(vars(self).get("fresh", True))


class Asks(Module):
    server_says = True

    def is_cacheable(self) -> bool:
        return self.server_says


def with_word(word: Any) -> Module:
    module = Module()
    module.is_cacheable = word
    return module


def test_a_modules_word_counts_where_it_always_says_the_same(vistrails: Any) -> None:
    fresh = True
    plain = PythonSource()
    says_so = PythonSource()
    says_so.run_code("cache_this()")
    kept = [Module(), SaysYes(), Group(), says_so, with_word(lambda *arguments: True)]
    assert [cacheable.for_good(module) for module in kept] == [True] * len(kept)
    runs = [Never(), Looks(), Asks(), plain, with_word(lambda *arguments: False), with_word(lambda: fresh)]
    runs.append(with_word(Asks().is_cacheable))
    assert [cacheable.for_good(module) for module in runs] == [False] * len(runs)


def test_modules_of_packages_that_keep_files_for_all_run_each_time(
    vistrails: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cacheable, "_keep_files", {})
    identifier, _, _ = stand_ins.kind_of(Module())
    assert cacheable.for_good(Module())
    monkeypatch.setattr(cacheable, "_keep_files", {})
    monkeypatch.setattr(shared_files, "_sharers", {identifier})
    assert not cacheable.for_good(Module())


def test_code_that_asks_for_vistrails_folder_runs_each_time(vistrails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PythonSource, "compute", shared_sources._one_at_a_time(PythonSource.compute))
    for code, for_good in {"o = 1": True, "open(default_dot_vistrails() + '/a')": False}.items():
        module = PythonSource()
        module.run_code("cache_this()")
        monkeypatch.setattr(module, "force_get_input", lambda port, code=code: code)
        assert cacheable.for_good(module) == for_good
