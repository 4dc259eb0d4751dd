"""What wraps every view: access rules, blindness, the way to the next pair, our script tag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.http import (  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
)
from django.shortcuts import render  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.urls import reverse  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

from labeling_config import contract
from labeling_config.plugin import access, answers, clips, others, progress, routes

# Asked by the page on the way in; the annotator gets nothing rather than an error on the screen.
EMPTY_FOR_ANNOTATORS: dict[str, Any] = {
    "ml:api:ml-list": [],
    "tasks:api:task-list": {"tasks": [], "total": 0, "total_annotations": 0, "total_predictions": 0},
}
# Not for annotators, wherever a task is shown: what the model thinks, and the score that orders the queue.
HIDDEN = {"predictions": [], "predictions_results": "", "predictions_score": None, "predictions_model_versions": ""}


WITHOUT_SCRIPT = ("robopref-guidelines", "robopref-console", "robopref-console-page")
"""Whole pages of our own."""


class _Middleware:
    """Django's: the rest of the chain is `get_response`."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)


class StrangerMiddleware(_Middleware):
    """Strangers get no session.

    Label Studio gives them a new one with every reply, files included. The login page still loads files while people
    can sign in already. A reply that arrived after that to the login replaced its session, and they saw the login page
    again.
    """

    def __call__(self, request: Any) -> Any:
        response = super().__call__(request)
        if not request.user.is_authenticated:
            request.session.modified = False
        return response


class AccessMiddleware(_Middleware):
    """Managers pass. Annotators pass where `routes.ROUTES` allows it. Strangers get Label Studio's login."""

    def process_view(self, request: Any, view: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        annotators = [user for user in _everyone_behind(request) if not access.is_manager(user)]
        match = request.resolver_match
        for user in annotators:
            check = routes.ROUTES.get(match.view_name, {}).get(request.method)
            try:
                if check is None or not check(routes.Asked(request, user, kwargs)):
                    return _refusal(request)
            except answers.Refused as refused:
                return JsonResponse({"detail": refused.message}, status=refused.status)
        request.robopref_annotator = bool(annotators)
        if annotators and match.view_name in EMPTY_FOR_ANNOTATORS:
            return JsonResponse(EMPTY_FOR_ANNOTATORS[match.view_name], safe=False)
        return None

    def process_template_response(self, request: Any, response: Any) -> Any:
        """API replies, before they are rendered."""
        if getattr(request, "robopref_annotator", False) and hasattr(response, "data"):
            _hide(response.data)
        return response


class CourseMiddleware(_Middleware):
    """Redirects an annotator who signs in, or opens a project before its turn, to their next pair."""

    def process_view(self, request: Any, view: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not getattr(request, "robopref_annotator", False) or request.method != "GET":
            return None
        name = request.resolver_match.view_name
        arriving = name in ("main", "projects:project-index") and "mine" not in request.GET
        if arriving or (name == "data_manager:project-data" and self._too_early(request, kwargs)):
            return HttpResponseRedirect(reverse("robopref-next"))
        return None

    def _too_early(self, request: Any, kwargs: dict[str, Any]) -> bool:
        """Training comes before the test, the test before production."""
        if "labeling" not in request.GET:
            return False
        stages = progress.stages_of(request.user)
        here = next((stage for stage in stages if str(stage.project_id) == str(kwargs["pk"])), None)
        if here is None or not here.phase:
            return False
        place = contract.place_of(here.phase)
        earlier = [stage for stage in stages if contract.place_of(stage.phase) < place]
        return progress.current(earlier) is not None or (here.test and progress.in_training(earlier))


class ScriptMiddleware(_Middleware):
    """Adds our script and style sheet to each HTML page, with the visitor's role."""

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        match = request.resolver_match
        ours = match is not None and match.view_name in WITHOUT_SCRIPT
        html = not ours and response.headers.get("Content-Type", "").startswith("text/html")
        if html and not response.streaming and b"</body>" in response.content:
            role = "annotator" if getattr(request, "robopref_annotator", False) else "manager"
            script, style = (reverse(f"robopref-{kind}", args=["plugin"]) for kind in ("script", "style"))
            tags = (
                f'<link rel="stylesheet" href="{style}">'
                f'<script type="module" id="robopref" src="{script}" data-role="{role}"></script></body>'
            )
            response.content = response.content.replace(b"</body>", tags.encode(), 1)
            if response.has_header("Content-Length"):
                response.headers["Content-Length"] = str(len(response.content))
        return response


def _everyone_behind(request: Any) -> Iterator[Any]:
    """All users whom some part of Label Studio could take for the sender of this request.

    The API prefers a token header over the session's cookie, and pages read only the cookie. A request with both must
    be allowed for both.
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
    message = "This belongs to somebody else or is for managers only."
    if request.path.startswith("/api/") or "application/json" in request.headers.get("Accept", ""):
        return JsonResponse({"detail": message}, status=403)
    return render(request, "robopref/refused.html", {"sentence": message}, status=403)


def _hide(data: Any) -> None:
    if isinstance(data, list):
        for item in data:
            _hide(item)
    elif isinstance(data, dict):
        clips.rename(data)
        others.hide(data)
        for key, value in data.items():
            if key in HIDDEN:
                data[key] = HIDDEN[key]
            else:
                _hide(value)
