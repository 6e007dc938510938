"""`python -m resources.sandbox`: serve a sandbox until SIGTERM or Ctrl-C.

It prints one line of JSON with its address as soon as it answers.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from resources.errors import DailiesError
from resources.log_lines import use_setting
from resources.sandbox.app import create_app
from resources.sandbox.server import address, bind, build_server
from resources.sandbox.settings import SandboxSettings
from resources.variables import SANDBOX_KEY, SANDBOX_POST_SECONDS


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 after a signal, 2 for a wrong setting or a port in use."""
    options = _parser().parse_args(arguments)
    port: int = options.port
    options_given = {
        name: value for name, value in vars(options).items() if name != "port" and value is not None
    }
    signal.signal(signal.SIGTERM, _leave)
    try:
        settings = SandboxSettings(**options_given)
        listener = bind(port)
        app = create_app(settings)
        url = address(listener)
        build_server(app, lambda: print(json.dumps({"url": url}), flush=True)).run(sockets=[listener])  # noqa: T201 - the interface
    except DailiesError as error:
        return _refuse(str(error), error.exit_code)
    except ValidationError as error:
        first = error.errors()[0]
        return _refuse(f"--{'.'.join(map(str, first['loc'])).replace('_', '-')}: {first['msg']}", 2)
    except KeyboardInterrupt:
        return 0
    return 0


def _leave(*_: Any) -> NoReturn:
    raise SystemExit(0)


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"sandbox: {message}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m resources.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 for any free one (default)")
    parser.add_argument(
        "--state", dest="state_path", type=Path, metavar="DIR", help="keep jobs and clips here"
    )
    parser.add_argument("--job-seconds", type=float, help="how long a job works (default 8)")
    parser.add_argument(
        "--post-seconds",
        type=float,
        default=os.environ.get(SANDBOX_POST_SECONDS, "0.3"),
        help="how long an answer to a submit takes (default 0.3)",
    )
    parser.add_argument("--spread", type=float, help="spread around that, as a share of it (default 0.3)")
    parser.add_argument("--slots", type=int, help="jobs each provider works on at once (default: no limit)")
    parser.add_argument(
        "--submits-per-minute", type=int, help="more are answered with 429 (default: no limit)"
    )
    parser.add_argument(
        "--balance", dest="balance_usd", metavar="USD", help="first balance of each account (default 1000)"
    )
    parser.add_argument("--seed", type=int, help="seed of the jobs' times (default 0)")
    parser.add_argument("--clip-bytes", type=int, help="pad every clip to this size")
    parser.add_argument("--faults", dest="faults_path", type=Path, metavar="FILE", help="a fault script")
    # other users of the machine can read a process's arguments, so the environment is the better place
    parser.add_argument(
        "--key",
        default=os.environ.get(SANDBOX_KEY),
        help="the API key (default: DAILIES_SANDBOX_KEY, or sandbox)",
    )
    return parser


if __name__ == "__main__":
    use_setting()
    sys.exit(main())
