"""Who may do everything, and whose project is whose.

A manager is a superuser, a member of the staff or the organization's owner. Anybody else is an annotator and has
exactly the projects whose description carries a line `annotator: their@address` (`contract.owner_line`). Only a
manager can edit a description, and the importer sets it through the public API.
"""

from typing import Any

from projects.mixins import ProjectMixin  # pyright: ignore[reportMissingImports]

from labeling_config import contract

# Label Studio lets any signed-in person do all of these.
MANAGERS_ONLY = (
    "projects.create", "projects.change", "projects.delete", "projects.reset_cache",
    "tasks.create", "tasks.change", "tasks.delete", "predictions.any", "views.delete", "views.reset",
    "organizations.create", "organizations.delete", "organizations.invite",
    "labels.create", "labels.change", "labels.delete", "models.create", "models.change", "models.delete",
    "model_provider_connection.create", "model_provider_connection.change", "model_provider_connection.delete",
    "webhooks.view", "webhooks.change", "storages.change", "storages.sync",
)  # fmt: skip


def is_manager(user: Any) -> bool:
    if user is None or not user.is_authenticated:
        return False
    return bool(user.is_superuser or user.is_staff or user.has_organization)


def owns(user: Any, project: Any) -> bool:
    """Whether the project is this annotator's; a manager owns every project."""
    if project is None or user is None or not user.is_authenticated:
        return False
    return is_manager(user) or user.email.lower() in contract.owners_of(project.description)


def owned_project_ids(user: Any) -> list[int]:
    from projects.models import Project  # pyright: ignore[reportMissingImports]

    near = Project.objects.filter(description__icontains=user.email).only("id", "description")
    return [project.id for project in near if owns(user, project)]


class OwnedProjectMixin(ProjectMixin):
    """Label Studio's own object check, for a project and all that hangs on it: tasks, annotations, files, views."""

    def has_permission(self, user: Any) -> bool:
        return super().has_permission(user) and owns(user, self)
