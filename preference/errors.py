"""What can go wrong, as a person should hear of it.

    UserError                     a mistake or a state that a person can fix: one clear line, exit code 1
    ├── ConfigError               robopref.toml or an environment variable
    ├── UsageError                an option or argument of a command that cannot be used
    ├── MissingExtra              a package that `pip install "robopref[EXTRA]"` brings
    ├── DataError                 an input file: names the file, the field, what was found and expected
    ├── StoreError                the database: unreachable, locked, or of another version
    ├── StudioError               Label Studio: down, slow, refusing, edited by hand
    ├── DiskFull                  no space is left for a file that was to be written
    └── NotReady                  an earlier stage has to run first; names it

The command line prints `message` and then `fix`, without a traceback. Anything else is a bug in Robopref and
keeps its traceback.
"""

import importlib.util


class UserError(Exception):
    """A mistake or a state that the person at the keyboard can fix.

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
        if not self.fix:
            return self.message
        return f"{self.message}{'' if self.message.endswith(('.', '!', '?', ':')) else '.'} {self.fix}"


class ConfigError(UserError):
    """robopref.toml or an environment variable holds something that cannot be used."""

    exit_code = 2


class UsageError(UserError):
    """An option or argument of a command is missing or holds something that cannot be used."""

    exit_code = 2


EXTRAS = {
    "torch": ("PyTorch", "ml"),
    "torchvision": ("torchvision", "ml"),
    "timm": ("timm", "ml"),
    "onnx": ("ONNX", "ml"),
    "onnxruntime": ("ONNX Runtime", "ml"),
    "onnxscript": ("ONNX Script", "ml"),
    "safetensors": ("safetensors", "ml"),
    "semver": ("semver", "ml"),
    "tensorboard": ("TensorBoard", "ml"),
    "huggingface_hub": ("the Hugging Face hub's client", "ml"),
    "nbformat": ("nbformat", "ml"),
    "label_studio": ("Label Studio", "studio"),
    "ray": ("Ray", "scale"),
    "boto3": ("boto3", "s3"),
    "mcap": ("the reader of MCAP files", "mcap"),
    "mcap_ros2": ("the reader of ROS 2 messages", "mcap"),
    "mcap_protobuf": ("the reader of Protobuf messages", "mcap"),
}
"""Module → its name for people, and the extra that brings it."""


class MissingExtra(UserError):
    """A package is not installed that one of Robopref's extras brings.

    Args:
        module: A key of `EXTRAS`.
    """

    exit_code = 2

    def __init__(self, module: str) -> None:
        title, extra = EXTRAS[module]
        super().__init__(f'This needs {title}: pip install "robopref[{extra}]"')


def installed(module: str) -> bool:
    """Whether it can be imported; looks for it without loading it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def needs(*modules: str) -> None:
    """Called before long work, so that a missing package is not found at its end.

    Raises:
        MissingExtra: one of them is not installed.
    """
    for module in modules:
        if not installed(module):
            raise MissingExtra(module)


def explained(error: ModuleNotFoundError) -> MissingExtra | None:
    """The same for a person, if an extra brings the missing module; None if that is a bug."""
    module = (error.name or "").partition(".")[0]
    return MissingExtra(module) if module in EXTRAS and not installed(module) else None


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
