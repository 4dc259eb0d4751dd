"""The release's inference.py as a module, as somebody who downloaded the release has it."""

from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from paths import ROOT

_spec: Any = spec_from_file_location("inference", ROOT / "release" / "templates" / "inference.py")
inference: Any = module_from_spec(_spec)
_spec.loader.exec_module(inference)
