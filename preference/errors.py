"""What can go wrong, as a person should hear of it.

    UserError                     a mistake or a state that a person can mend: one clear line, exit code 1
    ├── ConfigError               robopref.toml or an environment variable
    ├── DataError                 an input file: names the file, the field, what was found and expected
    ├── StoreError                the database: unreachable, locked, or of another version
    ├── StudioError               Label Studio: down, slow, refusing, edited by hand
    ├── DiskFull                  no space is left for a file that was to be written
    └── NotReady                  an earlier stage has to run first; names it

The command line prints `message` and then `fix`, without a traceback. Anything else is a bug in Robopref and
keeps its traceback.
"""


class UserError(Exception):
    """A mistake or a state that the person at the keyboard can mend.

    Args:
        message: What was found and what was expected, with the file and the field.
        fix: What to do about it, as an imperative sentence; empty when the message already says so.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class ConfigError(UserError):
    """robopref.toml or an environment variable holds something that cannot be used."""

    exit_code = 2


class DataError(UserError):
    """An input file is missing, broken or not what it says it is."""


class StoreError(UserError):
    """The database cannot be reached, is locked, or has another version's tables."""


class StudioError(UserError):
    """Label Studio is down, too slow, refuses us, or was edited by hand."""


class DiskFull(UserError):
    """No space is left on the disk for what was to be written; what was finished before is kept."""


class NotReady(UserError):
    """A stage was asked for before the one that feeds it."""

    exit_code = 3
