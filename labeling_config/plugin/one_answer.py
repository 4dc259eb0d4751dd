"""One answer by each person to each pair, whatever arrives at the same moment; and what a training answer settles.

`answers.check_new` looks before Label Studio's view runs, and two requests at once may both find nothing. So it is
checked again in the transaction that stores the answer. Until that ends nobody else stores one to the same task:
PostgreSQL locks the task's row, and SQLite lets one transaction write at a time (BEGIN IMMEDIATE, see settings).
"""

from typing import Any

from django.db import transaction  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from tasks.mixins import AnnotationMixin  # pyright: ignore[reportMissingImports]

from labeling_config import contract

ANSWERED = "You have answered this pair already."


class OneAnswerMixin(AnnotationMixin):
    """Label Studio's annotations of Robopref's projects; those of managers are left alone."""

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """
        Raises:
            APIException: (409) this would be the person's second answer to the pair, new or made of a skip.
        """
        from labeling_config.plugin import settled  # needs the models of tasks, which this is a part of

        with transaction.atomic():  # pyright: ignore[reportGeneralTypeIssues]
            answers = not self.was_cancelled and self._is_annotators()
            new = self.pk is None
            if answers:
                self._check_alone()
            saved = super().save(*args, **kwargs)
            if answers:
                settled.note(self)
            if answers and new:
                settled.close(self)
            return saved

    def _is_annotators(self) -> bool:
        from labeling_config.plugin import access  # needs the models of projects, which come after these

        if self.task is None or self.completed_by is None or access.is_manager(self.completed_by):
            return False
        return bool(contract.phase_of(self.task.project.description))

    def _check_alone(self) -> None:
        from labeling_config.plugin import others  # needs the models of tasks, which this is a part of

        tasks, annotations = type(self.task).objects, type(self).objects
        # Not FOR UPDATE: drafts refer to the row, and hold Label Studio's other locks while they are stored.
        task = tasks.select_for_update(no_key=True).filter(pk=self.task_id).first()
        stored = annotations.filter(task_id=self.task_id, completed_by_id=self.completed_by_id, was_cancelled=False)
        ids = set(stored.values_list("pk", flat=True))
        if ids and self.pk not in ids:
            raise _conflict()
        # the blind answer, too, may have been kept since the view's check
        if others.is_adjudicated(task) and (blind := others.blind_of(self.completed_by, task)):
            try:
                same = contract.answer_of({"result": self.result}).side == blind
            except contract.BadAnswer:
                same = False
            if not same:
                raise _conflict(f"Your answer came before the others' and stays: {blind}.")


def _conflict(why: str = ANSWERED) -> Exception:
    from rest_framework.exceptions import APIException  # pyright: ignore[reportMissingImports]  # the same

    error = APIException(why)
    error.status_code = 409
    return error
