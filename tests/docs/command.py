"""``fieldwise`` as a command of a shell, run by forks of one process that has imported torch.

A page has many commands, and each would spend seconds on the same imports.  ``folder`` is what to
put first on the PATH: its ``fieldwise`` hands arguments, streams, folder and environment to that
process, and ends as the fork does.  Real processes are started in ``tests/cli``.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

IMPORTED = ("fieldwise.cli", "matplotlib.pyplot", "timm", "torch", "torchvision.models", "zarr")
CLIENT = """#!{python} -IS
import json, os, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({path!r})
socket.send_fds(line, [b"."], [0, 1, 2])
line.sendall(json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode())
line.shutdown(socket.SHUT_WR)
sys.exit(int(line.recv(9)))
"""


@cache
def folder(python: str | None = None) -> str:
    """A folder with a ``fieldwise`` that works as long as this process lives.

    It is that of this checkout, or what is installed in the environment of another ``python``.
    """
    made = TemporaryDirectory()
    client = Path(made.name) / "fieldwise"
    client.write_text(CLIENT.format(python=sys.executable, path=f"{made.name}/socket"))
    client.chmod(0o755)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{made.name}/socket")
    listening.listen()
    here = os.pathsep.join(path for path in (str(Path(__file__).parents[2]), *sys.path) if path)
    server = subprocess.Popen(
        [python or sys.executable, "-P", __file__, str(listening.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=[listening.fileno()],
        env={**os.environ, "PYTHONPATH": "" if python else here, "OMP_NUM_THREADS": "1"},
    )
    atexit.register(made.cleanup)
    atexit.register(server.communicate)  # closes its input, which ends it, and waits
    return made.name


def serve(number: int) -> None:
    """Answer each client by a fork, until the process that started this one is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for name in IMPORTED:
        importlib.import_module(name)
    listening = socket.socket(fileno=number)
    with selectors.DefaultSelector() as waiting:
        waiting.register(listening, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is listening for key, _ in waiting.select()):
            line, _ = listening.accept()
            if os.fork() == 0:
                answer(line)
            line.close()


def answer(line: socket.socket) -> None:
    """Be the command that a client asks for, and tell it how that ended."""
    _, streams, _, _ = socket.recv_fds(line, 1, 3)
    with line.makefile("rb") as asked:
        sys.argv, where, environment = json.load(asked)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line.sendall(str(_ending()).encode())
    os._exit(0)


def _ending() -> int:
    from fieldwise.cli import main

    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - it is shown as Python shows it
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(int(sys.argv[1]))
