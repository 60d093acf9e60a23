"""The table of repairs: it fits Debian's VisTrails exactly, and says so loudly where it does not."""

from __future__ import annotations

import builtins
import http.server
import re
import shutil
import ssl
import subprocess
import threading
import urllib.error
from pathlib import Path

import pytest
from helpers import LONG

from host import SetupError, repairs
from host.repairs import GROUPS, REPAIRS, Edit, Repair, apply

pytestmark = pytest.mark.host

HELLO = Repair("greeting", "3.11", "for the test", (Edit("a.py", "hello", "good day"),))


@pytest.mark.filterwarnings("ignore:.*invalid escape sequence")
def test_the_repairs_fit_debians_vistrails_and_what_they_leave_compiles(unpacked: Path) -> None:
    apply(unpacked)
    for pattern in {edit.files for repair in REPAIRS for edit in repair.edits}:
        for file in unpacked.glob(pattern):
            compile(file.read_bytes(), file, "exec", dont_inherit=True)


def test_applying_the_repairs_twice_fails_loudly_for_each(unpacked: Path) -> None:
    apply(unpacked)
    for repair in REPAIRS:
        for edit in repair.edits:
            with pytest.raises(SetupError, match=re.escape(f"'{repair.name}' does not fit")):
                apply(unpacked, [Repair(repair.name, repair.since, repair.reason, (edit,))])


def test_the_repairs_leave_the_rest_of_a_file_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("1\r\n# hello \\1 ä\n\n".encode())
    apply(tmp_path, [HELLO])
    assert (tmp_path / "a.py").read_bytes() == "1\r\n# good day \\1 ä\n\n".encode()


def test_a_repair_whose_text_is_missing_fails_loudly(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("goodbye")
    with pytest.raises(SetupError, match=r"'greeting' does not fit: .* not have the text 'hello' .*vistrails/a\.py"):
        apply(tmp_path, [HELLO])
    assert (tmp_path / "a.py").read_text() == "goodbye"


def test_a_repair_whose_text_is_there_too_often_fails_loudly(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("hello hello")
    with pytest.raises(SetupError, match=r"'greeting' does not fit: .* 2 times there, not 1 .*vistrails/a\.py"):
        apply(tmp_path, [HELLO])


def test_a_repair_whose_file_is_missing_fails_loudly(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"'greeting' does not fit: .* no such file .*vistrails/a\.py"):
        apply(tmp_path, [HELLO])


def test_a_repair_that_adds_to_a_text_fails_loudly_where_that_has_been_done(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("hello")
    longer = Repair("greeting", "any", "for the test", (Edit("a.py", "hello", "hello, world"),))
    apply(tmp_path, [longer])
    with pytest.raises(SetupError, match=r"'greeting' does not fit: .* has been repaired there"):
        apply(tmp_path, [longer])
    assert (tmp_path / "a.py").read_text() == "hello, world"


def test_each_file_of_a_repair_must_hold_its_text(tmp_path: Path) -> None:
    for name, text in (("a.py", "hello hello"), ("b.py", "goodbye")):
        (tmp_path / name).write_text(text)
    with pytest.raises(SetupError, match=r"vistrails/b\.py"):
        apply(tmp_path, [Repair("greetings", "any", "for the test", (Edit("*.py", "hello", "good day", times=2),))])


def test_packages_import_packages_that_have_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vistrails.core.modules.package import Package

    (tmp_path / "without_file").mkdir()
    (tmp_path / "without_file" / "part.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    package = Package(codepath="for_the_test")
    found = package.import_override(builtins.__import__, "without_file", {}, {}, ("part",), 0, True)
    assert found.__file__ is None
    assert found.part.__file__ == str(tmp_path / "without_file" / "part.py")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_downloads_check_certificates_unless_told_not_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vistrails.packages.URL.https_if_available import build_opener

    monkeypatch.setenv("no_proxy", "*")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    ask = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*ask, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"https://127.0.0.1:{server.server_address[1]}/"
            with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
                build_opener().open(url, timeout=LONG)
            with build_opener(insecure=True).open(url, timeout=LONG) as page:
                assert page.status == 200
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("repair", REPAIRS, ids=lambda repair: repair.name)
def test_each_repair_says_why_and_since_when(repair: Repair) -> None:
    assert repair.reason.endswith(".")
    assert re.fullmatch(r"any|Debian|[\w-]+( \d[\d.]*( (and|to) \d[\d.]*)?)?", repair.since)
    assert repair.edits


def test_each_group_of_repairs_says_what_it_is_for() -> None:
    names = [group.__name__.rpartition(".")[2] for group in GROUPS]
    modules = {file.stem for file in Path(str(repairs.__file__)).parent.glob("*.py")}
    assert modules == {*names, "__init__", "edits"}
    for name, group in zip(names, GROUPS, strict=True):
        assert group.__doc__
        assert f"`{name}`" in str(repairs.__doc__)


def test_repairs_have_names_of_their_own() -> None:
    assert len({repair.name for repair in REPAIRS}) == len(REPAIRS)
