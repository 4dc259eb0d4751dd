"""`python -m robopref` is `robopref`."""

from robopref.cli import app

app()
