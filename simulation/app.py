"""``python -m simulation.app``: watch a simulation, or a finished run, in the browser."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import warnings
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.options import add_overrides, add_plugins, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulation.live.served import Served

# The libraries behind the page take seconds to import; --help and a wrong option must not wait.

_LIBRARIES = ("solara", "networkx", "altair", "plotly")
_HIGHEST_PORT = 65_535
_SOLARA = {
    "SOLARA_APP": "simulation.live.page",
    "SOLARA_MODE": "production",
    "SOLARA_TELEMETRY_MIXPANEL_ENABLE": "False",
    # Scripts and fonts come from the package solara-assets; the address is one where nobody is.
    "SOLARA_ASSETS_PROXY": "True",
    "SOLARA_ASSETS_CDN": "http://127.0.0.1:9/",
    "SOLARA_CHECK_HOOKS": "off",
    "SOLARA_THEME_SHOW_BANNER": "False",
    # A page that lost its connection is kept for so long; a closed one ends at once.
    "SOLARA_KERNEL_CULL_TIMEOUT": "10m",
}
"""What Solara reads when it is imported. As it comes, it reports its use to its makers."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.app",
        description="Watch a simulation in the browser: step, play, change settings, look at "
        "peers; or go through a finished run step by step.",
    )
    parser.add_argument(
        "--config", help="shipped scenario or YAML file (default: default)", metavar="NAME"
    )
    add_overrides(parser, "override any setting, e.g. market.risk_level=0.1 (repeatable)")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="folder of a finished run")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, which only this machine reaches)",
    )
    parser.add_argument("--port", type=int, default=8765, help="port (default: 8765; 0: any)")
    add_plugins(parser)
    options = parser.parse_args(arguments)
    if options.run is not None and (options.config is not None or options.overrides):
        parser.error("--run shows a finished run as it is: it goes without --config and --set")
    if not 0 <= options.port <= _HIGHEST_PORT:
        parser.error(f"--port {options.port}: should be 0 to {_HIGHEST_PORT}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C.

    Returns
    -------
    int
        0 when stopped, 1 when the address cannot be used, 2 for input that cannot be used.
    """
    options = parse(arguments)
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        return _fail(
            2,
            f"the live page needs more libraries: pip install 'drcosim[app]' "
            f"(missing: {', '.join(missing)})",
        )
    try:
        what = _what(options)
    except (ValueError, OSError) as error:
        return _fail(2, one_line(error))
    except KeyboardInterrupt:
        return 0
    try:
        listening = socket.create_server((options.host, options.port))
    except OSError as error:
        return _fail(1, f"--host {options.host} --port {options.port}: {one_line(error)}")
    with listening:
        _serve(what, listening)
    return 0


def _what(options: argparse.Namespace) -> Served:
    """Check the input, all of it, before the server starts."""
    from simulation.live.served import Served  # noqa: PLC0415

    if options.run is not None:
        from simulation.live.stored import StoredRun, open_run  # noqa: PLC0415

        return Served(StoredRun, {"run": open_run(options.run)})
    from configs.loading import load  # noqa: PLC0415
    from market.plugins import allow  # noqa: PLC0415
    from simulation.live.controls import model_params  # noqa: PLC0415
    from simulation.live.live import LiveSimulation  # noqa: PLC0415

    allow(options.allow_plugins)
    what = Served(
        LiveSimulation,
        model_params(load(options.config or "default", options.overrides)),
    )
    fault = what.start().message
    if fault:
        raise ValueError(fault.removeprefix("stopped: "))
    return what


def _serve(what: Served, listening: socket.socket) -> None:
    """Run the server of the page; nothing but this machine is asked for anything."""
    os.environ.update(_SOLARA)
    # Solara's cookie of a session is meant for pages inside others; it says so on every visit.
    warnings.filterwarnings("ignore", "Cookies with samesite=none", UserWarning)
    from simulation.live.served import PLOTLY_FOLDER, serve  # noqa: PLC0415

    serve(what)
    import uvicorn  # noqa: PLC0415
    from plotly import __file__ as plotly  # noqa: PLC0415
    from solara.server.starlette import app  # noqa: PLC0415
    from starlette.routing import Mount  # noqa: PLC0415
    from starlette.staticfiles import StaticFiles  # noqa: PLC0415

    # Solara answers whatever its own routes do not know, so that this one has to be the first.
    library = StaticFiles(directory=Path(plotly).parent / "package_data")
    app.router.routes.insert(0, Mount(PLOTLY_FOLDER, library))

    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    sys.stdout.write(f"http://{name}:{port}  (Ctrl-C stops)\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


def _fail(code: int, message: str) -> int:
    """Say what is wrong in one line."""
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
