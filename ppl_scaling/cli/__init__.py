"""The command line: ``ppl-scaling``.

Commands parse and render; what they do is done by the library. Heavy imports happen inside the commands, so that
``--help`` is quick.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from ppl_scaling.cli.calibrate import calibrate
from ppl_scaling.cli.curve import curve
from ppl_scaling.cli.diagnose import diagnose
from ppl_scaling.cli.evaluate import evaluate
from ppl_scaling.cli.lists import ListCommand
from ppl_scaling.cli.methods import METHODS_HELP
from ppl_scaling.cli.problems import problems
from ppl_scaling.cli.solve import solve
from ppl_scaling.errors import PPLScalingError

__all__ = ["app", "main"]

app = typer.Typer(
    name="ppl-scaling",
    help="Inference-time scaling of language models as probabilistic inference.",
    epilog='Example: ppl-scaling solve "Mia has 3 boxes of 12 pens. How many pens has Mia?" --num-particles 32',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=METHODS_HELP)(solve)
app.command()(problems)
app.command()(calibrate)
app.command(cls=ListCommand, epilog=METHODS_HELP)(evaluate)
app.command(cls=ListCommand, epilog=METHODS_HELP)(curve)
app.command()(diagnose)


def main() -> None:
    """Run the command line; a failure is one clear line on standard error and exit code 2."""
    try:
        app()
    except (PPLScalingError, ValueError, TypeError) as error:
        # Pyro appends the shapes of its trace to what is raised inside a program.
        message = str(error).partition("\nTrace Shapes:")[0]
        Console(stderr=True, highlight=False, soft_wrap=True).print("Error:", message, markup=False)
        sys.exit(2)
