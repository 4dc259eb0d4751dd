"""What the plugin keeps in a task's `meta` stays there, whoever saves the task.

Label Studio loads a task, does something, and saves all of it: a save that began before the plugin wrote would take its
words away, and with them what an adjudicator answered before seeing the others' answers.
"""

from typing import Any

from django.db import transaction  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from tasks.mixins import TaskMixin  # pyright: ignore[reportMissingImports]

KEPT = ("robopref_blind", "robopref_first")


class KeptMetaMixin(TaskMixin):
    """Label Studio's tasks."""

    def save(self, *args: Any, **kwargs: Any) -> Any:
        if self._state.adding:
            return super().save(*args, **kwargs)
        with transaction.atomic():  # pyright: ignore[reportGeneralTypeIssues]
            # Not FOR UPDATE: as in one_answer
            row = type(self).objects.select_for_update(no_key=True).filter(pk=self.pk)
            stored = row.values_list("meta", flat=True).first()
            if isinstance(stored, dict) and (own := {key: stored[key] for key in KEPT if key in stored}):
                self.meta = (self.meta if isinstance(self.meta, dict) else {}) | own
            return super().save(*args, **kwargs)
