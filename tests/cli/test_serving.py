"""``fieldwise view --serve`` serves one page, to this machine alone."""

from __future__ import annotations

import threading
from http.client import HTTPConnection

import pytest

from fieldwise.cli.serving import server_of


@pytest.fixture
def port():
    with server_of(b"<!doctype html>") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def answer(port, path, **headers):
    line = HTTPConnection("127.0.0.1", port, timeout=5)
    line.request("GET", path, headers=headers)
    found = line.getresponse()
    return found.status, found.read()


def test_the_page_is_served_and_nothing_else(port):
    assert answer(port, "/?x") == (200, b"<!doctype html>")
    assert answer(port, "/etc/passwd")[0] == 404


def test_another_host_is_refused(port):
    """A site whose name was made to mean this machine does not get the page."""
    assert answer(port, "/", Host="elsewhere.example")[0] == 404
