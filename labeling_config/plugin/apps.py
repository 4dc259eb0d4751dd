"""The Django app: what cannot be said in settings is arranged here, once, when Label Studio starts."""

from collections.abc import Callable
from typing import Any

from django.apps import AppConfig  # pyright: ignore[reportMissingModuleSource, reportMissingImports]


class PluginConfig(AppConfig):
    name = "labeling_config.plugin"
    label = "robopref"

    def ready(self) -> None:
        import rules  # pyright: ignore[reportMissingImports]
        from core.permissions import make_perm  # pyright: ignore[reportMissingImports]
        from projects.api import ProjectListAPI  # pyright: ignore[reportMissingImports]
        from users.api import UserAPI  # pyright: ignore[reportMissingImports]

        from labeling_config.plugin import access

        for permission in access.MANAGERS_ONLY:
            make_perm(permission, rules.predicate(access.is_manager), overwrite=True)
        _narrow(ProjectListAPI, lambda user: {"pk__in": access.owned_project_ids(user)})
        _narrow(UserAPI, lambda user: {"pk": user.pk})


def _narrow(view: Any, only: Callable[[Any], dict[str, Any]]) -> None:
    """Make a list view show an annotator what `only` lets through; there is no setting for that."""
    everything = view.get_queryset

    def get_queryset(self: Any) -> Any:
        from labeling_config.plugin import access

        rows, user = everything(self), self.request.user
        return rows if access.is_manager(user) else rows.filter(**only(user))

    view.get_queryset = get_queryset
