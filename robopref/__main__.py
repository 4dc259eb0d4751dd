"""`python -m robopref` is `robopref`."""

from robopref.cli import main

main()
