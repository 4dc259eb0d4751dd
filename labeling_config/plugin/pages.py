"""Pages that the plugin adds to Label Studio: files, the guidelines, the way to the next pair, progress.

All of them concern only the visitor; `robopref-health` is for managers.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from typing import Any

from django.http import (  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
    Http404,
    HttpResponse,
    HttpResponseRedirect,
)
from django.shortcuts import render  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from rest_framework.decorators import api_view, throttle_classes  # pyright: ignore[reportMissingImports]
from rest_framework.exceptions import (  # pyright: ignore[reportMissingImports]
    NotAuthenticated,
    PermissionDenied,
    ValidationError,
)
from rest_framework.response import Response  # pyright: ignore[reportMissingImports]
from rest_framework.throttling import UserRateThrottle  # pyright: ignore[reportMissingImports]

from labeling_config import contract
from labeling_config.plugin import checks, progress
from labeling_config.plugin.access import is_manager, owns

KINDS = {"js": "application/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "jpg": "image/jpeg"}


def file(_: Any, name: str, kind: str) -> HttpResponse:
    """One of the plugin's scripts or its style sheet."""
    return _file("plugin/static", name, kind)


def picture(_: Any, name: str) -> HttpResponse:
    """A picture of the guidelines."""
    return _file("pictures", name, "jpg")


def guidelines(_: Any) -> HttpResponse:
    from labeling_config.guidelines import page

    return HttpResponse(page().encode())


def next_pair(request: Any) -> HttpResponse:
    """Redirects to the annotator's next pair; if there is none, a page that says so and what comes next."""
    if not request.user.is_authenticated:
        return HttpResponseRedirect("/user/login/?next=/robopref/next")
    if is_manager(request.user):
        return HttpResponseRedirect("/projects/")
    stages = progress.stages_of(request.user)
    passing = _number(request.GET.get("nothing_in"))
    if stage := progress.current(stages, passing):
        return HttpResponseRedirect(_stream(stage.project_id))
    skipped = next(iter(sorted((s for s in stages if s.skipped), key=lambda s: s.skipped == s.excused)), None)
    reached = next((s.phase.partition("-")[0] or "production" for s in reversed(stages)), "nothing")
    test_waits = reached == "training" or any(stage.test and stage.left for stage in stages)
    facts = {
        "answered": sum(stage.done for stage in stages),
        "skipped": sum(stage.skipped for stage in stages),
        "skipped_address": skipped and _stream(skipped.project_id),
        "held_elsewhere": progress.current(stages) is not None,
        "training_skipped": bool(skipped and progress.in_training([skipped]) and test_waits),
        "reached": reached,
        "code": progress.completion(request.user),
    }
    return render(request, "robopref/next.html", facts)


def signed_in(request: Any) -> HttpResponse:
    """Where a login in a second tab ends; the first tab continues by itself."""
    return render(request, "robopref/signed_in.html")


@api_view(["GET"])
def state(request: Any) -> Response:
    """The visitor's progress in `?project=ID`, the clips to load after `?task=ID`, and where to go next.

    `next` is the address of the project to continue in, or null; without a project of their own, `stage` is null and
    `upcoming` empty.
    """
    _signed_in(request)
    from projects.models import Project  # pyright: ignore[reportMissingImports]

    project_id = _number(request.GET.get("project"))
    project = Project.objects.filter(pk=project_id).first() if project_id else None
    if project is not None and not owns(request.user, project):
        raise PermissionDenied
    going = None if is_manager(request.user) else progress.current(progress.stages_of(request.user))
    said: dict[str, Any] = {"next": going and _stream(going.project_id), "stage": None, "upcoming": []}
    if not going and not is_manager(request.user) and (code := progress.completion(request.user)):
        said["completion"] = code
    if project is not None:
        stage = progress.stage_of(request.user, project)
        said["stage"] = asdict(stage)
        said["upcoming"] = progress.upcoming(request.user, project, _number(request.GET.get("task")) or 0)
        said["watch_to_end"] = contract.watch_to_end(project.description)
        said["pace"] = progress.pace(request.user, project.id)
    return Response(said)


class FewReports(UserRateThrottle):
    """Of one person; in each of Label Studio's processes."""

    scope, rate = "robopref-trouble", "30/hour"


@api_view(["POST"])
@throttle_classes([FewReports])
def trouble(request: Any) -> Response:
    """The page's script could not find some part of Label Studio in the visitor's project: for `robopref doctor`."""
    _signed_in(request)
    part = request.data.get("part") if isinstance(request.data, dict) else None
    if not isinstance(part, str) or part not in checks.PARTS:
        raise ValidationError({"part": f"expected one of {', '.join(checks.PARTS)}"})
    checks.note_trouble(part, request.user.email)
    return Response(status=204)


def ready(_: Any) -> HttpResponse:
    """For whoever watches the server: whether it can answer people, which takes its database."""
    from django.db import DatabaseError, connection  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return HttpResponse(b"the database does not answer", status=503, content_type="text/plain")
    return HttpResponse(b"ready", content_type="text/plain")


@api_view(["GET"])
def health(request: Any) -> Response:
    """What does not fit between the plugin and this Label Studio, for managers and `robopref doctor`."""
    if not is_manager(request.user):
        raise PermissionDenied
    return Response({"made_for": checks.STUDIO_VERSION, "server": checks.problems(), "screen": checks.troubles()})


def _signed_in(request: Any) -> None:
    if not request.user.is_authenticated:
        raise NotAuthenticated


def _file(folder: str, name: str, kind: str) -> HttpResponse:
    """`name` is a slug: no dots, no slashes."""
    found = files("labeling_config").joinpath(folder, f"{name}.{kind}")
    if not found.is_file():
        raise Http404
    return HttpResponse(found.read_bytes(), content_type=KINDS[kind])


def _stream(project_id: int) -> str:
    return f"/projects/{project_id}/data?labeling=1"


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 18 else None
