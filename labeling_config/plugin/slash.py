"""Adds the slash that Label Studio's own page leaves out, where only the address with one exists.

Label Studio does so itself, but first makes a whole reply "not found": 3 to 4 ms of CPU for each such request.
"""

from collections.abc import Callable
from typing import Any

from django.urls import is_valid_path  # pyright: ignore[reportMissingModuleSource, reportMissingImports]


class SlashMiddleware:
    """Django's: the rest of the chain is `get_response`."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        asked = request.path_info
        if not asked.endswith("/") and not is_valid_path(asked) and is_valid_path(f"{asked}/"):
            request.path_info += "/"
            request.path += "/"
        return self.get_response(request)
