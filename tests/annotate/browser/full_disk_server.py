"""The stand-in server on a disk that is full as long as FOLDER/full exists: python full_disk_server.py FOLDER PORT."""
import errno
import os
import sys
from pathlib import Path

import uvicorn
from annotate.stub import stub_editor

from utils.annotate.__main__ import listen
from utils.annotate.server import create_app

folder, port = Path(sys.argv[1]), int(sys.argv[2])
rename = os.replace


def replace(source: os.PathLike, target: os.PathLike, **options) -> None:
    """As os.replace, by which everything that is saved gets its name."""
    if (folder / "full").exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    rename(source, target, **options)


editor = stub_editor(folder / "images", folder / "out")
os.replace = replace
os.fsync = lambda descriptor: None  # processes are killed, not the machine
listener = listen("127.0.0.1", port)
print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
uvicorn.Server(uvicorn.Config(create_app(editor), log_level="warning")).run(sockets=[listener])
