"""The Django app: what cannot be said in settings is arranged here, once, when Label Studio starts."""

from collections.abc import Callable
from typing import Any

from django.apps import AppConfig  # pyright: ignore[reportMissingModuleSource, reportMissingImports]


class PluginConfig(AppConfig):
    name = "labeling_config.plugin"
    label = "robopref"

    def ready(self) -> None:
        """Each step by itself: what this Label Studio lacks is noted for `robopref doctor`, and stays closed."""
        _try("The permissions could not be narrowed", _narrow_permissions)
        _try("The list of projects could not be narrowed", _narrow_projects, closing="projects:api:project-list")
        _try("The list of people could not be narrowed", _narrow_people, closing="user-list")


def _try(what: str, step: Callable[[], None], *, closing: str = "") -> None:
    from labeling_config.plugin import checks, routes

    try:
        step()
    except Exception as error:  # whatever a changed Label Studio does: the server has to start
        checks.FOUND_AT_START.append(f"{what}: {type(error).__name__}: {error}.")
        routes.ROUTES.pop(closing, None)


def _narrow_permissions() -> None:
    import rules  # pyright: ignore[reportMissingImports]
    from core.permissions import make_perm  # pyright: ignore[reportMissingImports]

    from labeling_config.plugin import access

    for permission in access.MANAGERS_ONLY:
        make_perm(permission, rules.predicate(access.is_manager), overwrite=True)


def _narrow_projects() -> None:
    from projects.api import ProjectListAPI  # pyright: ignore[reportMissingImports]

    from labeling_config.plugin import access

    _narrow(ProjectListAPI, lambda user: {"pk__in": access.owned_project_ids(user)})


def _narrow_people() -> None:
    from users.api import UserAPI  # pyright: ignore[reportMissingImports]

    _narrow(UserAPI, lambda user: {"pk": user.pk})


def _narrow(view: Any, only: Callable[[Any], dict[str, Any]]) -> None:
    """Make a list view show an annotator what `only` lets through; there is no setting for that."""
    everything = view.get_queryset

    def get_queryset(self: Any) -> Any:
        from labeling_config.plugin import access

        rows, user = everything(self), self.request.user
        return rows if access.is_manager(user) else rows.filter(**only(user))

    view.get_queryset = get_queryset
