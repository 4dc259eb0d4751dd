"""The command line: one command per stage, in the order the data flows.

The commands are in `robopref.commands`, what they share in `robopref.app`, and how results look in `robopref.show`.
"""

from robopref.app import app
from robopref.commands import setup  # the help's panels come in the order of these imports

# isort: split
from robopref.commands import asking, checking, learning, people, releasing, running

__all__ = ["app", "asking", "checking", "learning", "people", "releasing", "running", "setup"]
