"""Two middlewares: the access rules in front of every view, and the script tag in every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpResponse, JsonResponse  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.urls import reverse  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

from labeling_config.plugin import access, routes

# Asked by the page on the way in; the annotator gets nothing rather than an error on the screen.
EMPTY_FOR_ANNOTATORS = ("ml:api:ml-list",)
# Not for annotators, wherever a task is shown: what the model thinks, and the score that orders the queue.
HIDDEN = {"predictions": [], "predictions_results": "", "predictions_score": None, "predictions_model_versions": ""}


class AccessMiddleware:
    """Managers pass. An annotator passes where `routes.ROUTES` says so; a stranger meets Label Studio's own login."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_view(self, request: Any, view: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        annotators = [user for user in _everyone_behind(request) if not access.is_manager(user)]
        match = request.resolver_match
        for user in annotators:
            if match.view_name in EMPTY_FOR_ANNOTATORS and request.method == "GET":
                return JsonResponse([], safe=False)
            check = routes.ROUTES.get(match.view_name, {}).get(request.method)
            if check is None or not check(routes.Asked(request, user, kwargs)):
                return _refusal(request)
        request.robopref_annotator = bool(annotators)
        return None

    def process_template_response(self, request: Any, response: Any) -> Any:
        """API answers, before they are rendered."""
        if getattr(request, "robopref_annotator", False) and hasattr(response, "data"):
            _hide(response.data)
        return response


class ScriptMiddleware:
    """Adds plugin.js to each HTML page, with one fact about the visitor."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        html = response.headers.get("Content-Type", "").startswith("text/html")
        if html and not response.streaming and b"</body>" in response.content:
            role = "annotator" if getattr(request, "robopref_annotator", False) else "manager"
            tag = f'<script src="{reverse("robopref-script")}" data-role="{role}" defer></script></body>'
            response.content = response.content.replace(b"</body>", tag.encode(), 1)
            if response.has_header("Content-Length"):
                response.headers["Content-Length"] = str(len(response.content))
        return response


def _everyone_behind(request: Any) -> Iterator[Any]:
    """All users that some part of Label Studio could take this request to come from.

    The API prefers a token header over the session's cookie, and pages know the cookie only. Whoever sends both is
    held to both.
    """
    if request.user.is_authenticated:
        yield request.user
    words = request.META.get("HTTP_AUTHORIZATION", "").split()  # as the API splits it: a tab separates too
    if len(words) > 1 and words[0].lower() == "token":
        from rest_framework.authtoken.models import Token  # pyright: ignore[reportMissingImports]

        tokens: Any = Token
        token = tokens.objects.select_related("user").filter(key=words[1]).first()
        if token is not None:
            yield token.user


def _refusal(request: Any) -> HttpResponse:
    message = "This belongs to somebody else, or is for managers only."
    if request.path.startswith("/api/") or "application/json" in request.headers.get("Accept", ""):
        return JsonResponse({"detail": message}, status=403)
    return HttpResponse(
        f'<!doctype html><title>Not yours</title><p>{message}</p><p><a href="/">Back</a></p>'.encode(), status=403
    )


def _hide(data: Any) -> None:
    if isinstance(data, list):
        for item in data:
            _hide(item)
    elif isinstance(data, dict):
        for key, value in data.items():
            if key in HIDDEN:
                data[key] = HIDDEN[key]
            else:
                _hide(value)
