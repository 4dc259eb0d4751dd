"""Commands run in this process: a new one takes one to four seconds of CPU for its imports."""

import contextlib
from types import SimpleNamespace

from typer.testing import CliRunner

from robopref.cli import app


def robopref(*arguments, cwd):
    """What `robopref ARGUMENT …` in the folder `cwd` says, as `subprocess.run` would give it; a traceback is raised."""
    with contextlib.chdir(cwd):
        run = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return SimpleNamespace(returncode=run.exit_code, stdout=run.stdout, stderr=run.stderr)
