"""What an annotator may request of Label Studio: a list, recorded in a real browser. Everything else is refused.

A route is named as Django resolves it, so an address that a later version adds stays closed until someone opens it
here. Each entry has its methods and a check of the objects that the request names. Label Studio's own object check
(access.OwnedProjectMixin) comes after this one, in views that have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from labeling_config.plugin import answers, progress
from labeling_config.plugin.access import owns

READ = ("GET", "HEAD", "OPTIONS")
Check = Callable[["Asked"], bool]

# What the screen sends with an answer; more (ground_truth, reviews) is not an annotator's to say.
DRAFT_KEYS = frozenset(
    ("id", "result", "lead_time", "draft_id", "parent_annotation", "parent_prediction", "started_at", "project", "task")
)
ANNOTATION_KEYS = DRAFT_KEYS | {"was_cancelled", "unique_id", "completed_by", "ground_truth", "bulk_created"}
NO_BODY: dict[str, Any] = {}


class Asked:
    """One request by one annotator, with what it names."""

    def __init__(self, request: Any, user: Any, kwargs: dict[str, Any]) -> None:
        self.request, self.user, self.kwargs = request, user, kwargs

    def body(self) -> dict[str, Any] | None:
        """The JSON object sent; None where it is something else, or could be read in two ways.

        Raises:
            Refused: it is too large, or cannot be stored and shown again.
        """
        if self.nothing_sent():
            return NO_BODY
        self._check_size()
        kind = self.request.headers.get("Content-Type", "").lower().replace(" ", "")
        if kind not in ("application/json", "application/json;charset=utf-8"):
            return None
        try:
            sent = json.loads(self.request.body.decode("utf-8"))
        except ValueError:
            return None
        except RecursionError:
            raise answers.Refused("The answer is nested too deeply.") from None
        if not isinstance(sent, dict):
            return None
        answers.check_storable(sent)
        return sent

    def _check_size(self) -> None:
        """By what the header says first: a large body is not read."""
        said = self.request.META.get("CONTENT_LENGTH") or ""
        size = int(said) if said.isdecimal() and len(said) < 18 else 0
        if size > answers.LARGEST_BODY or len(self.request.body) > answers.LARGEST_BODY:
            raise answers.Refused(f"At most {answers.LARGEST_BODY} bytes are taken at once.", 413)

    def nothing_sent(self) -> bool:
        return (
            self.request.headers.get("Content-Length", "0") in ("", "0")
            and "Transfer-Encoding" not in self.request.headers
        )

    def project(self, pk: object) -> Any:
        from projects.models import Project  # pyright: ignore[reportMissingImports]

        return _first(Project, pk)

    def task(self, pk: object) -> Any:
        from tasks.models import Task  # pyright: ignore[reportMissingImports]

        return _first(Task, pk)

    def owns_project(self, pk: object) -> bool:
        return owns(self.user, self.project(pk))

    def owns_task(self, pk: object) -> bool:
        task = self.task(pk)
        return task is not None and owns(self.user, task.project)

    def was_served(self, pk: object) -> bool:
        """Whether Label Studio has given this task to the annotator, who holds its lock, or has touched it."""
        from tasks.models import Annotation, AnnotationDraft, TaskLock  # pyright: ignore[reportMissingImports]

        return (
            TaskLock.objects.filter(task_id=pk, user=self.user).exists()
            or Annotation.objects.filter(task_id=pk, completed_by=self.user).exists()
            or AnnotationDraft.objects.filter(task_id=pk, user=self.user).exists()
        )

    def own_annotation(self, pk: object) -> Any:
        from tasks.models import Annotation  # pyright: ignore[reportMissingImports]

        return self._own(_first(Annotation, pk), "completed_by_id")

    def own_draft(self, pk: object) -> Any:
        from tasks.models import AnnotationDraft  # pyright: ignore[reportMissingImports]

        return self._own(_first(AnnotationDraft, pk), "user_id")

    def _own(self, row: Any, author: str) -> Any:
        mine = row is not None and getattr(row, author) == self.user.id and owns(self.user, row.task.project)
        return row if mine else None


def anyone(_: Asked) -> bool:
    return True


def storable(asked: Asked) -> bool:
    """What concerns only themselves, but is listed to managers too."""
    return asked.body() is not None


def project_in_path(asked: Asked) -> bool:
    return asked.owns_project(asked.kwargs.get("pk"))


def project_in_query(asked: Asked) -> bool:
    """Named in the address, once or more, and each time their own; a body could name another."""
    named = asked.request.GET.getlist("project")
    return bool(named) and all(map(asked.owns_project, named)) and asked.nothing_sent()


def next_task_only(asked: Asked) -> bool:
    """The label stream asks for its next task as an "action"; all other actions change or export data."""
    named, ids = asked.request.GET.getlist("project"), asked.request.GET.getlist("id")
    body = asked.body()
    own = bool(named) and all(map(asked.owns_project, named)) and ids == ["next_task"]
    own = own and not set(asked.request.GET) & {"query", "ordering", "view"}  # filters may also stand in the address
    return own and body is not None and _unsorted(body)


def view_of_own_project(asked: Asked) -> bool:
    """A Data Manager tab: made for, or changed within, a project of their own."""
    from data_manager.models import View  # pyright: ignore[reportMissingImports]

    body = asked.body()
    if body is None or any(not asked.owns_project(pk) for pk in asked.request.GET.getlist("project")):
        return False
    if "pk" in asked.kwargs:
        view = _first(View, asked.kwargs["pk"])
        return (
            view is not None
            and owns(asked.user, view.project)
            and body.get("project", view.project_id) == view.project_id
            and _unsorted(body)
        )
    return asked.owns_project(body.get("project")) and _unsorted(body)


def task_in_path(asked: Asked) -> bool:
    named = asked.request.GET.getlist("project")
    return asked.owns_task(asked.kwargs.get("pk", asked.kwargs.get("task_id"))) and all(map(asked.owns_project, named))


def task_at_hand(asked: Asked) -> bool:
    """A task that this annotator was served or has touched: nobody leafs through what is still to come."""
    return task_in_path(asked) and asked.was_served(asked.kwargs.get("pk", asked.kwargs.get("task_id")))


def clip_at_hand(asked: Asked) -> bool:
    """A clip of such a task, or of the next one, which the page loads ahead."""
    pk = asked.kwargs.get("task_id")
    if not asked.owns_task(pk):
        return False
    return asked.was_served(pk) or progress.is_next(asked.user, asked.task(pk))


def answer_a_task(asked: Asked) -> bool:
    if "was_cancelled" in asked.request.GET:  # Label Studio would believe the address more than the body
        return False
    if not task_in_path(asked) or not _says_only(asked, ANNOTATION_KEYS, task_id=asked.kwargs["pk"]):
        return False
    answers.check_new(asked.user, asked.task(asked.kwargs["pk"]), asked.body() or NO_BODY)
    return True


def blind_answer(asked: Asked) -> bool:
    return task_at_hand(asked) and set(asked.body() or NO_BODY) == {"side", "confidence"}


def see_answer(asked: Asked) -> bool:
    return asked.own_annotation(asked.kwargs.get("pk")) is not None


def change_answer(asked: Asked) -> bool:
    annotation = asked.own_annotation(asked.kwargs.get("pk"))
    if annotation is None or not _says_only(asked, ANNOTATION_KEYS, task_id=annotation.task_id):
        return False
    answers.check_change(asked.user, annotation, asked.body() or NO_BODY)
    return True


def draft_a_task(asked: Asked) -> bool:
    annotation = asked.kwargs.get("annotation_id")
    if annotation is not None and asked.own_annotation(annotation) is None:
        return False
    if not task_at_hand(asked) or not _says_only(asked, DRAFT_KEYS, task_id=asked.kwargs["pk"]):
        return False
    answers.check_draft(asked.user, asked.task(asked.kwargs["pk"]), asked.body() or NO_BODY, new=True)
    return True


def change_draft(asked: Asked) -> bool:
    draft = asked.own_draft(asked.kwargs.get("pk"))
    if draft is None or not _says_only(asked, DRAFT_KEYS, task_id=draft.task_id):
        return False
    answers.check_draft(asked.user, draft.task, asked.body() or NO_BODY, new=False)
    return True


def trouble_in_own_project(asked: Asked) -> bool:
    body = asked.body() or NO_BODY
    return set(body) == {"part", "project"} and asked.owns_project(body["project"])


def themselves(asked: Asked) -> bool:
    return str(asked.kwargs.get("pk")) == str(asked.user.pk)


def _says_only(asked: Asked, keys: frozenset[str], *, task_id: int) -> bool:
    """An answer in their own name, to this task, and nothing else."""
    body = asked.body()
    if body is None or not set(body) <= keys or body.get("ground_truth"):
        return False
    if body.get("completed_by", asked.user.id) != asked.user.id or str(body.get("task", task_id)) != str(task_id):
        return False
    return ("project" not in body or _task_is_in(task_id, body["project"])) and _own_parents(asked, body)


def _unsorted(body: dict[str, Any]) -> bool:
    """No filter, order or selection of one's own: by them the queue's order, or a pair shown twice, could be found."""
    data = body.get("data", {})
    for place in (body, data if isinstance(data, dict) else body):
        filters, chosen = place.get("filters") or {}, place.get("selectedItems") or {}
        if place.get("ordering") or not isinstance(filters, dict) or filters.get("items"):
            return False
        if not isinstance(chosen, dict) or chosen.get("included") or chosen.get("excluded"):
            return False
    return True


def _own_parents(asked: Asked, body: dict[str, Any]) -> bool:
    draft, parent = body.get("draft_id"), body.get("parent_annotation")
    if draft and asked.own_draft(draft) is None and _exists_draft(draft):
        return False
    return (not parent or asked.own_annotation(parent) is not None) and not body.get("parent_prediction")


def _task_is_in(task_id: int, project: object) -> bool:
    from tasks.models import Task  # pyright: ignore[reportMissingImports]

    task = _first(Task, task_id)
    return task is not None and str(task.project_id) == str(project)


def _exists_draft(pk: object) -> bool:
    from tasks.models import AnnotationDraft  # pyright: ignore[reportMissingImports]

    return _first(AnnotationDraft, pk) is not None


def _first(model: Any, pk: object) -> Any:
    try:
        return model.objects.filter(pk=int(str(pk))).first()
    except ValueError:
        return None


# route -> method -> check
ROUTES: dict[str, dict[str, Check]] = {}


def _allow(check: Check, methods: str, *routes: str) -> None:
    for route in routes:
        ROUTES.setdefault(route, {}).update(dict.fromkeys(methods.split(), check))


# Pages, scripts, pictures, and what concerns only themselves.
_allow(anyone, "GET HEAD", "main", "projects:project-index")
_allow(anyone, "GET HEAD", "robopref-script", "robopref-style", "robopref-guidelines", "robopref-picture")
_allow(anyone, "GET HEAD", "robopref-next", "robopref-signed-in", "robopref-state", "robopref-ready")
_allow(trouble_in_own_project, "POST", "robopref-trouble")
_allow(
    anyone,
    "GET HEAD",
    "core.utils.static_serve.serve",
    "core.views.serve_file",
    "django.views.generic.base.RedirectView",
)
_allow(
    anyone, "GET HEAD", "django.views.static.serve", "version", "api-version", "health", "heidi_tips", "collect_metrics"
)
_allow(anyone, "GET HEAD POST", "user-login", "user-signup", "user-account", "user-account-anything", "logout")
_allow(anyone, "GET HEAD OPTIONS", "current-user-whoami", "current-user-token")
_allow(anyone, "GET HEAD", "current-user-hotkeys", "product-tour")
_allow(storable, "PATCH", "current-user-hotkeys", "product-tour")
_allow(
    anyone,
    "GET POST",
    "jwt_auth:token_manage",
    "jwt_auth:token_refresh",
    "jwt_auth:token_blacklist",
    "jwt_auth:token_rotate",
)
_allow(
    anyone, "GET", "projects:api:project-list", "user-list", "jwt_auth:api-jwt-settings"
)  # narrowed to their own rows
_allow(themselves, "GET", "user-detail")
# Their own projects, to look at.
_allow(project_in_path, "GET HEAD", "data_manager:project-data", "projects:api:project-detail")
_allow(project_in_path, "GET HEAD", "projects:api:project-next")
_allow(project_in_path, "GET", "projects:api:label-stream-history")
_allow(project_in_query, "GET", "data_manager:dm-project", "data_manager:dm-columns", "data_manager:dm-actions")
_allow(
    project_in_query,
    "GET",
    "data_manager:api:view-list",
    "labels_manager:api-labels:label_link-list",
)
_allow(view_of_own_project, "POST", "data_manager:api:view-list")
_allow(view_of_own_project, "GET PUT PATCH", "data_manager:api:view-detail")
_allow(next_task_only, "POST", "data_manager:dm-actions")
# Answered with nothing (middleware.EMPTY_FOR_ANNOTATORS): the page asks for them, and shows a refusal as an error.
_allow(anyone, "GET", "ml:api:ml-list")
_allow(project_in_query, "GET", "tasks:api:task-list")
# Their own tasks, clips and answers. Label Studio's own addresses of clips would show any file of a storage.
_allow(clip_at_hand, "GET HEAD", "robopref-clip")
_allow(task_at_hand, "GET HEAD", "tasks:api:task-detail", "tasks:api:task-drafts")
_allow(blind_answer, "POST", "robopref-others")
_allow(answer_a_task, "POST", "tasks:api:task-annotations")
_allow(draft_a_task, "POST", "tasks:api:task-drafts", "tasks:api:task-annotations-drafts")
_allow(see_answer, "GET", "tasks:api-annotations:annotation-detail")
_allow(change_answer, "PUT PATCH", "tasks:api-annotations:annotation-detail")
_allow(change_draft, "GET PUT PATCH DELETE", "tasks:api-drafts:draft-detail")
