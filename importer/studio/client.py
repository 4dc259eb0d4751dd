"""The one place that talks to Label Studio as a manager, through label-studio-sdk.

In: records of ours. Out: Label Studio's ids, and annotation JSON as it came. Every failure is a StudioError with one
clear message. What only reads is tried again; what creates is not, since a lost answer may have been a
success: push looks first for what is already there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from importer.studio.queues import PLANNED, score_of_place
from importer.studio.replies import StudioProject, StudioTask, differs, next_version, project_of, said_in, task_filter
from importer.studio.users import by_proxy, create_annotator
from labeling_config.contract import ASSIGNMENT_ID, SECRET_HEADER
from preference.config import S3
from preference.errors import StudioError
from preference.listeners import check_own
from preference.tls import authorities
from preference.workspace import Workspace

EXPECTED_VERSION = "1.23"
BACKEND_TITLE = "Robopref"
EVENTS = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"]
QUEUE = {"sampling": "Uncertainty sampling", "maximum_annotations": 1, "skip_queue": "REQUEUE_FOR_ME"}
"""Lowest score first; one person's project; what was skipped comes again at the end."""
TITLE_LENGTH = 50
PAGE = 1000
ONCE: Any = {"max_retries": 0}
BULK: Any = {"max_retries": 0, "timeout_in_seconds": 600}
"""For one request over many tasks, which is answered when the last of them is done."""
TAKEN = "End that program, then run `robopref up --stop` and `robopref up`, with --port for another port."
WRONG_URL = "Correct label_studio.url in robopref.toml."
# Label Studio filters the fields of the annotations by the same list as those of the task.
ANNOTATION_FIELDS = "id,updated_at,created_at,annotations,completed_by,result,lead_time,was_cancelled,task,project"


class LabelStudio:
    """A manager's connection; cheap to make, nothing is sent before the first call.

    Args:
        url: Address of the server.
        token: Legacy token (40 hex digits) or personal access token.
        timeout: Seconds for one answer.
        embedded: The server is ours: before each connection it is made sure that no other user has its port.
    """

    def __init__(self, url: str, token: str, timeout: float = 30.0, *, embedded: bool = False) -> None:
        from label_studio_sdk import LabelStudio as Client

        self.url = url.rstrip("/")
        self._token, self._timeout, self._embedded = token, timeout, embedded
        hooks: Any = {"request": [self._watch]}
        trust_env = by_proxy(self.url)
        with self._errors("connect"):
            http = httpx.Client(
                timeout=timeout, follow_redirects=True, trust_env=trust_env, verify=authorities(trust_env),
                event_hooks=hooks,
            )  # fmt: skip
            self._client = Client(base_url=self.url, api_key=token or "none", timeout=timeout, httpx_client=http)

    def _watch(self, request: httpx.Request) -> None:
        """Not at each request: a connection stays with the program that accepted it, and looking takes 10 ms of CPU."""

        def happened(event: str, _: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.started":
                self._check_own()

        request.extensions["trace"] = happened

    def _check_own(self) -> None:
        """
        Raises:
            StudioError: another user's program is there, and would get the token.
        """
        if self._embedded:
            check_own(self.url, "this project's Label Studio", error=StudioError, fix=TAKEN)

    def version(self) -> str:
        """The server's version; empty where it is not Label Studio. Asked without a token: anybody may know it."""
        address, trust_env = f"{self.url}/api/version/", by_proxy(self.url)
        with self._errors("read its version"):
            answer = httpx.get(
                address, timeout=self._timeout, follow_redirects=True, trust_env=trust_env,
                verify=authorities(trust_env),
            )  # fmt: skip
            said = answer.json() if answer.status_code == 200 else {}
            return str(said.get("release") or "") if isinstance(said, dict) else ""

    def check(self) -> None:
        """Raise a StudioError unless the server answers, runs a known version and accepts the token."""
        self._check_own()
        if not (release := self.version()):
            raise StudioError(f"The server at {self.url} is not Label Studio.", fix=WRONG_URL)
        if ".".join(release.split(".")[:2]) != EXPECTED_VERSION:
            raise StudioError(
                f"{self.url} runs Label Studio {release}; Robopref works with {EXPECTED_VERSION}.",
                fix=f"Install label-studio=={EXPECTED_VERSION}.*.",
            )
        with self._errors("sign in"):
            self._client.users.whoami()

    def stream(self, path: str, headers: Mapping[str, str]) -> AbstractContextManager[httpx.Response]:
        """What a page of the server answers to the manager; of its body, only what is then read is fetched."""
        http = self._client._client_wrapper.httpx_client
        return http.stream(path.lstrip("/"), method="GET", headers=dict(headers), request_options=ONCE)

    def plugin_health(self) -> dict[str, Any] | None:
        """What the plugin lacks: `made_for` (a version), `server` and `screen` (sentences); None without the plugin."""
        http = self._client._client_wrapper.httpx_client
        with self._errors("ask the plugin how it is"):
            answer = http.request("robopref/health", method="GET", request_options=ONCE)
        said = answer.status_code == 200 and "json" in answer.headers.get("content-type", "")
        found = answer.json() if said else None
        return found if isinstance(found, dict) and {"made_for", "server", "screen"} <= set(found) else None

    def users(self) -> dict[str, int]:
        """E-mail address, in lower case → user id."""
        with self._errors("list the users"):
            return {str(user.email).lower(): int(user.id) for user in self._client.users.list() if user.id}

    def ensure_user(self, email: str, password: str) -> int:
        """The id of the user `email`, created with `password` if there is no such user yet."""
        return create_annotator(self.url, self._token, email, password)

    def projects(self, ids: Sequence[int] | None = None) -> list[StudioProject]:
        """All projects, or those of these ids that exist; counting their tasks takes Label Studio 10 ms each."""
        wanted = None if ids is None else ",".join(map(str, ids)) or "0"
        with self._errors("list the projects"):
            return [project_of(found) for found in self._client.projects.list(page_size=100, ids=wanted)]

    def create_project(self, title: str, description: str, template: str, instructions: str) -> int:
        """A project whose queue follows our scores and whose annotator sees no prediction."""
        with self._errors(f"create the project {title!r}"):
            made = self._client.projects.create(
                title=title[:TITLE_LENGTH],
                description=description,
                label_config=template,
                expert_instruction=instructions,
                show_instruction=False,
                enable_empty_annotation=False,
                show_collab_predictions=False,
                evaluate_predictions_automatically=False,
                model_version=PLANNED,
                request_options=ONCE,
                **QUEUE,
            )
        return int(made.id)  # pyright: ignore[reportArgumentType]

    def describe(self, project_id: int, description: str) -> None:
        """Replace the project's description."""
        with self._errors(f"describe the project {project_id}"):
            self._client.projects.update(project_id, description=description)

    def ensure_storage(self, project_id: int, folder: Path) -> None:
        """Let the project's members see the files of `folder`, as the server knows it, through local file serving."""
        storages = self._client.import_storage.local
        with self._errors(f"register {folder} as local file storage"):
            if any(storage.path == str(folder) for storage in storages.list(project=project_id)):
                return
            storages.create(
                project=project_id, path=str(folder), title="Clips", use_blob_urls=True, request_options=ONCE
            )

    def ensure_bucket(self, project_id: int, s3: S3) -> None:
        """Let the project turn s3:// addresses of the bucket into presigned links, with the newest keys."""
        wanted: dict[str, Any] = {
            "bucket": s3.bucket,
            "prefix": s3.prefix.strip("/"),
            "s3endpoint": s3.endpoint or None,
            "region_name": s3.region or None,
            "aws_access_key_id": s3.access_key.get_secret_value(),
            "aws_secret_access_key": s3.secret_key.get_secret_value(),
            "presign": True,
            "presign_ttl": s3.link_minutes,
            "use_blob_urls": True,
            "title": "Clips",
        }
        storages = self._client.import_storage.s3
        with self._errors(f"register the bucket {s3.bucket}"):
            ours = [found for found in storages.list(project=project_id) if found.bucket == s3.bucket]
            if not ours:
                storages.create(project=project_id, request_options=ONCE, **wanted)
            else:
                storages.update(ours[0].id or 0, project=project_id, **wanted)

    def ensure_backend(self, project_id: int, url: str, user: str, password: str) -> None:
        """Connect our ML backend, once; a changed address or password is updated."""
        login: dict[str, Any] = {"auth_method": "NONE"}
        if password:
            login = {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        with self._errors(f"connect the ML backend at {url}"):
            ours = [b for b in self._client.ml.list(project=project_id) if b.title == BACKEND_TITLE]
            if not ours:
                self._client.ml.create(project=project_id, url=url, title=BACKEND_TITLE, request_options=ONCE, **login)
            elif ours[0].url != url or ours[0].state != "CO":
                self._client.ml.update(ours[0].id or 0, project=project_id, url=url, title=BACKEND_TITLE, **login)

    def ensure_webhook(self, project_id: int, url: str, secret: str) -> None:
        """One webhook with the secret header, for what happens to annotations and nothing else.

        To be called before `ensure_backend`: connecting a backend adds a webhook for every event, without a secret,
        unless there is one with its address.
        """
        wanted: dict[str, Any] = {
            "url": url,
            "headers": {SECRET_HEADER: secret} if secret else {},
            "actions": EVENTS,
            "send_for_all_actions": False,
            "send_payload": True,
            "is_active": True,
        }
        with self._errors(f"register the webhook {url}"):
            hooks = self._client.webhooks.list(project=str(project_id))
            ours = [h for h in hooks if h.url == url or SECRET_HEADER in (h.headers or {})]
            if not ours:
                self._client.webhooks.create(project=project_id, request_options=ONCE, **wanted)
            elif any(differs(getattr(ours[0], key), value) for key, value in wanted.items()):
                self._client.webhooks.update(ours[0].id or 0, **wanted)

    def import_tasks(
        self, project_id: int, tasks: Sequence[Mapping[str, Any]], places: Sequence[float], version: str
    ) -> list[int]:
        """Create tasks from their data, each with a prediction that ranks it and pre-selects nothing; ids in order."""
        body = [
            {"data": data, "predictions": [{"result": [], "score": score_of_place(place), "model_version": version}]}
            for data, place in zip(tasks, places, strict=True)
        ]
        path = f"api/projects/{project_id}/import"
        return self._send("import tasks", "POST", path, json=body, params={"return_task_ids": "true"})["task_ids"]

    def tasks(self, project_id: int, after: int = 0) -> dict[str, list[int]]:
        """`assignment_id` → ids of its tasks, ascending, of those tasks whose id is greater than `after`."""
        found: dict[str, list[int]] = {}
        for page in self._pages(
            project_id, "id,data", task_filter("id", "greater", "Number", after) if after else None
        ):
            for task in page:
                found.setdefault(str(task["data"].get(ASSIGNMENT_ID, "")), []).append(int(task["id"]))
        return {assignment: sorted(ids) for assignment, ids in found.items()}

    def delete_task(self, task_id: int) -> None:
        with self._errors(f"delete task {task_id}"):
            self._client.tasks.delete(str(task_id))

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Those of the tasks that are there; their annotations go with them."""
        body = {"project": project_id, "selectedItems": {"all": False, "included": list(task_ids)}}
        address = f"api/dm/actions/?id=delete_tasks&project={project_id}"
        self._send("delete tasks", "POST", address, json=body)

    def set_scores(self, project_id: int, scores: Mapping[int, float], version: str) -> str:
        """Give open tasks new places in the queue, by the order of `scores` (task id → any number), lowest first.

        The new predictions go in beside the old, then the project switches to them in one step: the queue is always
        in order. The old ones stay, out of use: deleting takes Label Studio some 5 ms each, in one transaction
        that would block every annotator.

        Returns:
            The version now in use: `version`, with a running number if the project already had it.
        """
        present = self._send("read the model versions", "GET", f"api/projects/{project_id}/model-versions/")
        target = next_version(present, version)
        body = [
            {"task": task, "result": [], "score": score_of_place(place), "model_version": target}
            for place, task in enumerate(sorted(scores, key=scores.__getitem__))
        ]
        # In one request: each one makes Label Studio count the predictions of every task of the project, 0.6 ms a task.
        made = self._send("import predictions", "POST", f"api/projects/{project_id}/import/predictions", json=body)
        if made.get("created") != len(body):
            raise StudioError(f"Label Studio dropped some of the scores for project {project_id}; see its log.")
        with self._errors("switch the queue to the new scores"):
            self._client.projects.update(project_id, model_version=target)
        return target

    def annotations(
        self, project_id: int, since: str = "", *, tasks: Sequence[int] | None = None
    ) -> Iterator[list[StudioTask]]:
        """Pages of the tasks that changed at or after `since` (ISO 8601), or of `tasks`, with all their annotations."""
        query = task_filter("updated_at", "greater_or_equal", "Datetime", since) if since else None
        if tasks is not None:
            query = task_filter("id", "in_list", "List", list(tasks))
        for page in self._pages(project_id, ANNOTATION_FIELDS, query, fields="all"):
            yield [StudioTask(int(task["id"]), task["updated_at"], task["annotations"]) for task in page]

    def _pages(
        self, project_id: int, include: str, query: dict[str, Any] | None, fields: str = "task_only"
    ) -> Iterator[list[dict[str, Any]]]:
        """`fields`: "all" with annotations and what Label Studio counts of them, which takes it longer."""
        params: dict[str, Any] = {"project": project_id, "fields": fields, "resolve_uri": "false", "include": include}
        params |= {"page_size": PAGE} | ({"query": json.dumps(query)} if query else {})
        number, seen, total = 1, 0, 1
        while seen < total:
            answer = self._send("list tasks", "GET", "api/tasks/", params={**params, "page": number})
            yield answer["tasks"]
            number, seen, total = number + 1, seen + len(answer["tasks"]), answer["total"]
            if not answer["tasks"]:
                return

    def _send(self, what: str, method: str, path: str, **options: Any) -> Any:
        """One request past the SDK's typed methods, which are slow on long lists or know no such address.

        Args:
            path: With the slash at its end where Label Studio's own has one, or it looks for a second address first.
        """
        from label_studio_sdk.core.api_error import ApiError

        http = self._client._client_wrapper.httpx_client
        with self._errors(what):
            answer = http.request(path, method=method, request_options=None if method == "GET" else BULK, **options)
            if answer.status_code >= 400:
                raise ApiError(status_code=answer.status_code, body=answer.text)
            return answer.json() if answer.content else None

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Whatever goes wrong inside becomes a StudioError that says what was being done; no token, no header."""
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except httpx.HTTPError as error:
            raise StudioError(
                f"Label Studio at {self.url} does not answer ({type(error).__name__}; doing: {what}).",
                fix="Start it (`robopref up`), or correct label_studio.url in robopref.toml; then run again.",
            ) from None
        except ApiError as error:
            status = error.status_code or 0
            said = said_in(error.body)
            if status in (401, 403):
                raise self._refused(status, said, what) from None
            if status < 400:
                raise StudioError(f"The server at {self.url} is not Label Studio.", fix=WRONG_URL) from None
            raise StudioError(f"Label Studio at {self.url} could not {what}: HTTP {status}, {said}") from None
        except ValueError:
            raise StudioError(f"The server at {self.url} is not Label Studio.", fix=WRONG_URL) from None

    def _refused(self, status: int, said: str, what: str) -> StudioError:
        """No token, a kind of token that is switched off, and a wrong one are three different mistakes."""
        own = "Set ROBOPREF_LABEL_STUDIO_TOKEN to a manager's token, from Account & Settings in Label Studio."
        if not self._token:
            return StudioError(f"There is no token for Label Studio at {self.url}.", fix=own)
        if "legacy token" in said:
            fix = "Allow legacy tokens under Organization, Access Token Settings; or use a personal access token."
            return StudioError(f"Label Studio at {self.url} has legacy tokens switched off, and this is one.", fix=fix)
        return StudioError(f"Label Studio at {self.url} refuses the token (HTTP {status}; doing: {what}).", fix=own)


def client(ws: Workspace) -> LabelStudio:
    """Label Studio as the configuration names it; nothing was asked of it yet."""
    settings, token = ws.config.label_studio, ws.config.label_studio.token.get_secret_value()
    return LabelStudio(settings.url, token, settings.request_timeout_s, embedded=ws.config.embedded)


def connect(ws: Workspace) -> LabelStudio:
    """Label Studio as the configuration names it, once it has answered and let us in."""
    if ws.config.embedded and not ws.config.label_studio.token.get_secret_value():
        raise StudioError(
            "This project has no Label Studio yet.",
            fix="Run `robopref up`, or name one of your own in label_studio.url and ROBOPREF_LABEL_STUDIO_TOKEN.",
        )
    studio = client(ws)
    studio.check()
    return studio
