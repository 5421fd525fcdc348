"""
The command line, `orderflow`: thin doors to the rest of the house.

A command reads its arguments, calls one thing and says what came of it; see `answers.py` for how.
Whatever goes wrong by name ends as one sentence on stderr and an exit code: 0 done, 1 the answer is
no, 2 the input cannot be used, 75 something does not answer, 78 the installation is at fault.
"""

import sys

import typer

from schemas.errors import Misconfigured, OrderflowError, Rejected, Unavailable
from streams.cli import (
    alerting,
    annotating,
    announcing,
    auditing,
    availability,
    breaking,
    consoling,
    exceptions,
    figuring,
    graying,
    importing,
    listening,
    looking,
    mapping,
    marketing,
    operating,
    operations,
    pausing,
    polling,
    rating,
    reconciling,
    replaying,
    running,
    setting_up,
    settling,
    shipping,
    sizing,
    subscribing,
)
from streams.cli.answers import AWAY, BAD_INPUT, INTERRUPTED, MISCONFIGURED, NO, examples

app = typer.Typer(
    name="orderflow",
    help="Orders of many platforms in, exact stock reservations out.\n\n"
    "Exit codes: 0 done; 1 the answer is no; 2 bad input; 75 something does not answer; "
    "78 wrong configuration.",
    epilog=examples(
        "orderflow demo",
        "orderflow topics apply && orderflow migrate && "
        "orderflow reference apply deploy/reference.toml",
        "orderflow worker --roles intake,orders,stock,ledger",
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
setting_up.add_to(app)
running.add_to(app)
breaking.add_to(app)
operating.add_to(app)
marketing.add_to(app)
mapping.add_to(app)
importing.add_to(app)
looking.add_to(app)
shipping.add_to(app)
auditing.add_to(app)
reconciling.add_to(app)
exceptions.add_to(app)
pausing.add_to(app)
graying.add_to(app)
operations.add_to(app)
replaying.add_to(app)
rating.add_to(app)
figuring.add_to(app)
settling.add_to(app)
listening.add_to(app)
announcing.add_to(app)
availability.add_to(app)
consoling.add_to(app)
polling.add_to(app)
alerting.add_to(app)
subscribing.add_to(app)
annotating.add_to(app)
sizing.add_to(app)


def main() -> None:
    """Run the command of this process."""
    try:
        app()
    except Rejected as error:
        code = _say(error, BAD_INPUT)
    except Misconfigured as error:
        code = _say(error, MISCONFIGURED)
    except Unavailable as error:
        code = _say(error, AWAY)
    except OrderflowError as error:
        code = _say(error, NO)
    except BrokenPipeError:
        # Whoever read us has seen enough; nothing more can be said to them.
        sys.stderr.close()
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    else:
        code = 0
    sys.exit(code)


def _say(error: OrderflowError, code: int) -> int:
    sys.stdout.flush()
    print(f"orderflow: {error}", file=sys.stderr)  # noqa: T201  this is the terminal
    return code
