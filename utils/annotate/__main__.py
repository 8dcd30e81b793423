"""The command line: `python -m utils.annotate IMAGES`, `... export DIR`, `... import DIR`, `... empty-trash DIR`."""
from __future__ import annotations

import argparse
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from utils.files import UserError, existing_file, shown_name, tolerant_output

from .assist.assistant import Assistant
from .editor import IMPORTED, Editor
from .engine import CheckpointModel, Engine, no_model
from .errors import AnnotationError
from .export import FORMATS, ONLY, counted, export
from .import_job import forget_uploads
from .import_objects import KINDS as IMPORT_KINDS
from .import_objects import import_objects
from .project import Project
from .proposals import KINDS, Proposals

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoint.pth"
MISSING_EXTRA = "The annotation page needs two more packages: pip install -r utils/annotate/requirements.txt"
BROWSERS = ".browsers"  # in the output folder: digests of the cookies of those who were let in


def _serve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.annotate",
        description="Serves a page on which the objects of a folder of pictures are annotated by clicks.",
        epilog="Other commands: `export DIR` writes the annotation in a known format, `import DIR` takes objects in, "
               "`empty-trash DIR` deletes what was replaced; each has its own --help. A folder of one of these names "
               "is given as ./export.",
    )
    parser.add_argument("images", type=Path, metavar="IMAGES", help="the folder of pictures; it is only read")
    parser.add_argument("--recursive", action="store_true", default=None, help="pictures of its subfolders too")
    group = parser.add_argument_group("annotation")
    group.add_argument("--out", type=Path, help="where everything is saved (default: IMAGES_annotations beside it)")
    group.add_argument("--labels", default="", help="names of classes, separated by commas")
    group.add_argument("--masks", type=Path, help="folder of masks to propose: NAME.png for NAME.jpg; each value above "
                       "0, palette entry or colour is an object; a grey map whose values lie along outlines is a "
                       "model's probability map or has soft edges, and proposes what is above one half")
    group.add_argument("--masks-are", choices=KINDS, default="auto", help="what the masks hold where that rule would "
                       "be wrong (default: %(default)s)")
    group.add_argument("--model", "--checkpoint", dest="checkpoint", type=Path, default=CHECKPOINT, metavar="FILE",
                       help="a checkpoint, or an exported network: .onnx, .xml (default: checkpoint.pth)")
    group.add_argument("--runtime", choices=("auto", "torch", "onnxruntime", "openvino"), default="auto",
                       help="what runs an exported network (default: the first that is installed and right)")
    group.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of an exported network's numbers "
                       "(default: %(default)s)")
    group.add_argument("--without-model", action="store_true", help="brush, region and proposals only")
    group = parser.add_argument_group("proposals of a model that learns from the finished pictures")
    group.add_argument("--assist", nargs="*", metavar="LABEL", help="learn these classes; without a name, all")
    group.add_argument("--assist-from", metavar="MODEL", help="propose masks of this model without training: people, a "
                       "model of utils.segment (.pth), or module:attribute, called with a photo, giving probabilities; "
                       "they get the label of --assist, or the first one")
    group.add_argument("--assist-minutes", type=float, default=1.0, metavar="MINUTES", help="longest time of a "
                       "training (default: %(default)g)")
    group = parser.add_argument_group("serving")
    group.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on; browsers show a one-time token. "
                       "Without encryption: for any address but this machine's own an SSH tunnel is safer")
    group.add_argument("--open", action="store_true", help="open the page in this machine's browser")
    return parser


def _export_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m utils.annotate export",
                                     description="Writes the finished objects of an annotation project.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the project's output folder")
    parser.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    parser.add_argument("--to", type=Path, help="folder to write (default: DIR/export/FORMAT)")
    parser.add_argument("--polygons", action="store_true", help="coco: polygons instead of RLE")
    parser.add_argument("--link", action="store_true", help="yolo, voc: hard links to the pictures in place of copies; "
                        "who edits one then edits the original")
    parser.add_argument("--only", choices=ONLY, default="all", help="pictures that are done, or approved (default: "
                        "%(default)s)")
    parser.add_argument("--only-done", action="store_const", const="done", dest="only", help="the same as --only done")
    return parser


def _export(arguments: Sequence[str]) -> None:
    options = _export_parser().parse_args(arguments)
    to = options.to or options.folder / "export" / options.format
    project = Project(options.folder)
    result = export(project, to, options.format, options.only, options.polygons, options.link, _show_progress)
    print(result.text(to))


def _import(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m utils.annotate import",
                                     description="Takes objects of another tool or model into an annotation project.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the project's output folder; no server may run on it")
    parser.add_argument("source", type=Path, metavar="FROM", help="coco: the JSON file; else the folder")
    parser.add_argument("--format", choices=FORMATS, required=True, help="what it holds")
    parser.add_argument("--as", dest="kind", choices=IMPORT_KINDS, default="objects", help="finished objects, or "
                        "proposals to accept (default: %(default)s)")
    options = parser.parse_args(arguments)
    project = Project(options.folder)
    project.lock()
    print(import_objects(project, options.source, options.format, options.kind))


def _empty_trash(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m utils.annotate empty-trash",
                                     description="Deletes masks and sessions that were replaced or deleted.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the project's output folder; no server may run on it")
    project = Project(parser.parse_args(arguments).folder)
    project.lock()
    print(f"{project.empty_trash()} files deleted")


def _show_progress(done: int, total: int) -> None:
    """A bar on stderr, where a person looks."""
    if sys.stderr.isatty() and total:
        filled = 30 * done // total
        print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{total}", end="\n" if done == total else "",
              file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------- serving


def _serve(arguments: Sequence[str]) -> None:
    options = _serve_parser().parse_args(arguments)
    try:
        import uvicorn

        from . import patience, server
    except ImportError as error:
        raise AnnotationError(f"{MISSING_EXTRA} ({error})") from error
    editor = _editor(options)
    listener = listen(options.host, options.port)
    app, address = _application(server, editor, options.host, listener.getsockname()[1])
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, server_header=False,
                            http=patience.PatientProtocol)
    running = uvicorn.Server(config)
    failures: list[str] = []

    def stop(sentence: str) -> None:
        failures.append(sentence)
        running.should_exit = True

    if editor.assistant is not None:
        editor.assistant.start()
    editor.engine.start(stop if not options.without_model else lambda sentence: None)
    if options.open:
        threading.Timer(1.0, webbrowser.open, [address()]).start()
    try:
        running.run(sockets=[listener])
    finally:
        if editor.assistant is not None:
            editor.assistant.close()
    if failures:
        raise AnnotationError(f"{failures[0]} Mend that, or start --without-model.")


def _editor(options: argparse.Namespace) -> Editor:
    images = options.images.resolve()
    if not images.is_dir():
        raise AnnotationError(f"The pictures' folder {options.images} doesn't exist.")
    if not options.without_model:
        existing_file(options.checkpoint)
    out = options.out or images.with_name(images.name + "_annotations")
    labels = [label for label in options.labels.split(",") if label.strip()]
    project = Project(out, images, [*labels, *(options.assist or ())], options.recursive)
    imported = out / IMPORTED
    proposals = Proposals(options.masks or (imported if imported.is_dir() else None), options.masks_are)
    project.lock()
    project.save()
    forget_uploads(out)
    print(f"{counted(len(project.pictures))} of {shown_name(images)}, saved to {shown_name(out.resolve())}", flush=True)
    load = no_model if options.without_model else partial(
        CheckpointModel, options.checkpoint, runtime=options.runtime, precision=options.precision)
    editor = Editor(project, Engine(load), proposals, _assistant(options, project))
    for remark in filter(None, (project.left_out, *editor.problems)):
        print(remark, flush=True)
    return editor


def _assistant(options: argparse.Namespace, project: Project) -> Assistant | None:
    if options.assist is None and options.assist_from is None:
        return None
    if options.assist_minutes <= 0:
        raise AnnotationError("A training takes longer than no time; give --assist-minutes above 0.")
    labels = options.assist or ([project.labels[0].name] if options.assist_from else [])
    return Assistant(project, labels, options.assist_minutes, options.assist_from or "")


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
    """The application and the page's address with its token, which is printed, now and whenever it was used."""
    is_any = host in ("0.0.0.0", "::")
    name = socket.gethostname() if is_any else f"[{host}]" if ":" in host else host
    tokens: list[str] = []

    def announce(token: str) -> None:
        tokens.append(token)
        which = "Annotate" if len(tokens) == 1 else "A browser was let in. Another one gets in"
        more = "   (Ctrl+C ends; every step is saved)" if len(tokens) == 1 else ""
        print(f"{which} at http://{name}:{port}/?token={token}{more}", flush=True)

    hosts = None if is_any else frozenset({host.lower(), *server.LOOPBACK})
    app = server.create_app(editor, hosts, announce, editor.project.out / BROWSERS)
    return app, lambda: f"http://{name}:{port}/?token={tokens[-1]}"


def main(arguments: Sequence[str]) -> int:
    """Runs a command; gives the exit status."""
    tolerant_output()
    commands = {"export": _export, "import": _import, "empty-trash": _empty_trash}
    try:
        if arguments and arguments[0] in commands:
            commands[arguments[0]](arguments[1:])
        else:
            _serve(arguments)
    except UserError as error:
        print(f"annotate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
