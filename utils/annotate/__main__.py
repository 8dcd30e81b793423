"""The command line: `python -m utils.annotate IMAGES`, `... export DIR` and `... load-test`."""
from __future__ import annotations

import argparse
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from .editor import Editor
from .engine import CheckpointModel, Engine
from .errors import AnnotationError
from .export import FORMATS, counted, export
from .load_test import add_arguments as add_load_test_arguments
from .load_test import main as run_load_test
from .project import Project
from .proposals import KINDS, Proposals

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoint.pth"
MISSING_EXTRA = "The annotation page needs two more packages: pip install -r utils/annotate/requirements.txt"


def _serve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.annotate",
        description="Serves a page on which the objects of a folder of pictures are annotated by clicks.",
        epilog="Other commands: `export DIR` writes the annotation in a known format, `load-test` measures the server; "
               "each has its own --help. A folder of one of these names is given as ./export.",
    )
    parser.add_argument("images", type=Path, metavar="IMAGES", help="the folder of pictures; it is only read")
    group = parser.add_argument_group("annotation")
    group.add_argument("--out", type=Path, help="where everything is saved (default: IMAGES_annotations beside it)")
    group.add_argument("--labels", default="", help="names of classes, separated by commas")
    group.add_argument("--masks", type=Path, help="folder of masks to propose: NAME.png for NAME.jpg; each value above "
                       "0, palette entry or colour is an object; a grey map of more than 64 values that reaches above "
                       "one half is a model's probability map")
    group.add_argument("--masks-are", choices=KINDS, default="auto", help="what the masks hold where that rule would "
                       "be wrong (default: %(default)s)")
    group.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="of the model (default: checkpoint.pth)")
    group = parser.add_argument_group("serving")
    group.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on; any but this machine's own asks "
                       "browsers for a one-time token. Without encryption: an SSH tunnel is safer")
    group.add_argument("--open", action="store_true", help="open the page in this machine's browser")
    return parser


def _export_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m utils.annotate export",
                                     description="Writes the finished objects of an annotation project.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the project's output folder")
    parser.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    parser.add_argument("--to", type=Path, help="folder to write (default: DIR/export/FORMAT)")
    parser.add_argument("--polygons", action="store_true", help="coco: polygons instead of RLE")
    parser.add_argument("--only-done", action="store_true", help="leave out pictures that aren't marked as done")
    return parser


def _export(arguments: Sequence[str]) -> None:
    options = _export_parser().parse_args(arguments)
    to = options.to or options.folder / "export" / options.format
    project = Project(options.folder)
    count = export(project, to, options.format, options.only_done, options.polygons, _show_progress)
    print(f"{counted(count)} written to {to}")


def _show_progress(done: int, total: int) -> None:
    """A bar on stderr, where a person looks."""
    if sys.stderr.isatty():
        filled = 30 * done // total
        print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{total}", end="\n" if done == total else "",
              file=sys.stderr, flush=True)


def _load_test(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m utils.annotate load-test", description=run_load_test.__doc__)
    add_load_test_arguments(parser)
    run_load_test(parser.parse_args(arguments))


# ---------------------------------------------------------------------------------------------- serving


def _serve(arguments: Sequence[str]) -> None:
    options = _serve_parser().parse_args(arguments)
    try:
        import uvicorn

        from . import server
    except ImportError as error:
        raise AnnotationError(f"{MISSING_EXTRA} ({error})") from error
    editor = _editor(options)
    listener = listen(options.host, options.port)
    app, address = _application(server, editor, options.host, listener.getsockname()[1])
    editor.engine.start()
    if options.open:
        threading.Timer(1.0, webbrowser.open, [address()]).start()
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def _editor(options: argparse.Namespace) -> Editor:
    images = options.images.resolve()
    if not images.is_dir():
        raise AnnotationError(f"The pictures' folder {options.images} doesn't exist.")
    out = options.out or images.with_name(images.name + "_annotations")
    labels = [label for label in options.labels.split(",") if label.strip()]
    project = Project(out, images, labels)
    if not project.pictures:
        raise AnnotationError(f"There are no pictures in {options.images} (JPEG, PNG, BMP, WebP or TIFF).")
    project.lock()
    project.save()
    print(f"{counted(len(project.pictures))} of {images}, saved to {out.resolve()}", flush=True)
    return Editor(project, Engine(lambda progress: CheckpointModel(options.checkpoint, progress)),
                  Proposals(options.masks, options.masks_are))


def listen(host: str, port: int) -> socket.socket:
    """A socket that connections to an address arrive at; port 0 takes a free one.

    Raises:
        AnnotationError: the address can't be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
        # Its connections inherit this. asyncio sets it only where the protocol is named, and create_server names none:
        # without it, an answer's second packet waits 40 ms for the browser's delayed acknowledgement of the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        raise AnnotationError(f"Can't listen on {host} port {port}: {error}. Try another --port.") from error


def _application(server: ModuleType, editor: Editor, host: str, port: int) -> tuple[Any, Callable[[], str]]:
    """The application and the page's address, which is printed; with a token unless only this machine can call."""
    if host in server.LOOPBACK:
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        print(f"Annotate at {address}   (Ctrl+C ends; every step is saved)", flush=True)
        return server.create_app(editor), lambda: address
    is_any = host in ("0.0.0.0", "::")
    name = socket.gethostname() if is_any else f"[{host}]" if ":" in host else host
    tokens: list[str] = []

    def announce(token: str) -> None:
        tokens.append(token)
        which = "Annotate" if len(tokens) == 1 else "A browser was let in. Another one gets in"
        print(f"{which} at http://{name}:{port}/?token={token}", flush=True)

    hosts = None if is_any else frozenset({host.lower(), *server.LOOPBACK})
    return server.create_app(editor, hosts, announce), lambda: f"http://{name}:{port}/?token={tokens[-1]}"


def main(arguments: Sequence[str]) -> int:
    """Runs a command; gives the exit status."""
    commands = {"export": _export, "load-test": _load_test}
    try:
        if arguments and arguments[0] in commands:
            commands[arguments[0]](arguments[1:])
        else:
            _serve(arguments)
    except AnnotationError as error:
        print(f"annotate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
