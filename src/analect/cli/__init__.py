"""The command line: one file a command; each parses, calls the core and prints. `main` is where it starts and ends.

Nothing heavy is imported before a command runs: `analect --help` loads neither numpy nor the corpus.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from analect.cli.app import run
from analect.cli.output import complain, prepare_streams
from analect.errors import AnalectError

DONE, IN_PART, REFUSED, STOPPED, PIPE_CLOSED = 0, 1, 2, 130, 141
"""Exit codes: all done; done, but for what failed; nothing done; stopped by Ctrl-C; whoever read the output left."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line (default: that of the process) and return its exit code. Errors are one line on stderr."""
    prepare_streams()
    try:
        code = run(list(sys.argv[1:] if args is None else args))
        sys.stdout.flush()  # here, where a reader that left can still be told from a failure
    except BrokenPipeError:
        _abandon_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        complain("stopped; what was embedded is kept, run it again to go on")
        return STOPPED
    except Exception as error:  # noqa: BLE001  # the last resort: a user gets a line, never a traceback unasked
        if os.environ.get("ANALECT_DEBUG") == "1":
            traceback.print_exc()
        complain(_message(error))
        return REFUSED
    return code


def _message(error: Exception) -> str:
    if isinstance(error, AnalectError):
        return str(error)
    usage = getattr(error, "format_message", None)  # typer's usage errors; where their class lives differs by release
    if usage is not None:
        return f"{usage()} See 'analect --help'."
    return f"{type(error).__name__}: {error}; set ANALECT_DEBUG=1 for the traceback"


def _abandon_stdout() -> None:
    """Send what is left in the buffer nowhere, so that closing stdout at exit does not fail as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
