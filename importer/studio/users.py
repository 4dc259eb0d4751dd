"""Label Studio accounts over plain HTTP: create an annotator, act as one.

In: the server's address and an administrator's token (the 40-hex legacy token or a personal access token). Out: user
ids and signed-in `httpx` clients. Label Studio's API creates users but sets no password, so accounts are made the way
a person makes one: through the sign-up form behind the organization's invite link. It works with sign-up open or
closed, on an unmodified server and on one with the plugin.
"""

from typing import Any
from urllib.parse import urlsplit

import httpx

from preference.errors import StudioError
from preference.tls import authorities

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
"""Seconds. SQLite under load answers late, not never."""


def admin_session(base_url: str, token: str) -> httpx.Client:
    """A client that acts as the token's owner.

    A personal access token is a refresh token: the access token bought with it lasts five minutes, long enough for
    what this module does with it.
    """
    kind = "Token"
    if token.count(".") == 2:  # header.payload.signature: a JSON web token
        fix = "Make a new one under Account & Settings."
        with _client(base_url) as visitor:
            body = {"refresh": token}
            answer = _ask(visitor, "POST", "/api/token/refresh/", "refresh the access token", fix=fix, json=body)
        kind, token = "Bearer", answer.json()["access"]
    return _client(base_url, headers={"Authorization": f"{kind} {token}"})


def create_annotator(base_url: str, admin_token: str, email: str, password: str) -> int:
    """The id of the user `email`, who is created with `password` if there is no such user yet."""
    email = email.strip().lower()
    with admin_session(base_url, admin_token) as admin:
        if (found := _user_id(admin, email)) is not None:
            return found
        invite = _ask(admin, "GET", "/api/invite", "read the invite link").json()["token"]
        form = {"email": email, "password": password, "allow_newsletters": "false"}
        with _client(base_url) as visitor:
            # when the form is not accepted it is shown again, with status 200
            if (status := _submit(visitor, f"/user/signup/?token={invite}", form)) != 302:
                raise StudioError(
                    f"Label Studio at {base_url} refused to sign up {email} (HTTP {status}).",
                    fix="A password must have 8 to 128 characters and differ from the address.",
                )
        found = _user_id(admin, email)
    if found is None:
        raise StudioError(f"{base_url} accepted the sign-up of {email}, but does not list that user.")
    return found


def annotator_session(base_url: str, email: str, password: str) -> httpx.Client:
    """A client logged in as that user; every request it makes acts as them.

    Cookies only, no token: it works whether or not the server accepts legacy tokens, and does not run out after five
    minutes as an access token does.
    """
    form = {"email": email.strip().lower(), "password": password, "persist_session": "on"}
    with _client(base_url) as visitor:
        if (status := _submit(visitor, "/user/login/", form)) != 302:
            raise StudioError(
                f"Label Studio at {base_url} rejected the sign-in of {email} (HTTP {status}).",
                fix="Check the address and the password.",
            )
        # Django asks for a referer over https
        headers = {"Referer": str(visitor.base_url), "X-CSRFToken": visitor.cookies.get("csrftoken") or ""}
        return _client(base_url, cookies=visitor.cookies, headers=headers)


def by_proxy(base_url: str) -> bool:
    """Whether the environment's proxy may be asked: never for a server on this machine, which no proxy reaches."""
    return urlsplit(base_url).hostname not in ("127.0.0.1", "localhost", "::1")


def _client(base_url: str, **options: Any) -> httpx.Client:
    trust_env = by_proxy(base_url)
    client = httpx.Client(
        base_url=base_url, timeout=TIMEOUT, follow_redirects=True, trust_env=trust_env,
        verify=authorities(trust_env), **options,
    )  # fmt: skip

    def keep(_: httpx.Response) -> None:
        # Where people come through a proxy with TLS, cookies are for https only; programs inside come without it.
        for cookie in client.cookies.jar:
            cookie.secure = False

    client.event_hooks = {"response": [keep]}
    return client


def _user_id(admin: httpx.Client, email: str) -> int | None:
    fix = "Check the token; legacy tokens are off by default."
    listed = _ask(admin, "GET", "/api/users/", "list the users", fix=fix).json()
    users = listed if isinstance(listed, list) else listed["results"]
    return next((int(user["id"]) for user in users if str(user.get("email", "")).lower() == email), None)


def _submit(session: httpx.Client, page: str, form: dict[str, str]) -> int:
    """Fill in the form of `page`; the status of the answer."""
    shown = _ask(session, "GET", page, f"open {page.partition('?')[0]}")
    hidden = {"csrfmiddlewaretoken": session.cookies.get("csrftoken") or ""}
    headers = {"Referer": str(shown.url)}
    return _request(session, "POST", page, data=form | hidden, headers=headers, follow_redirects=False).status_code


def _request(session: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    try:
        return session.request(method, path, **options)
    except httpx.HTTPError as error:
        raise StudioError(
            f"Label Studio does not answer at {session.base_url}: {type(error).__name__}.",
            fix="Start it, or correct its address.",
        ) from error


def _ask(session: httpx.Client, method: str, path: str, what: str, *, fix: str = "", **options: Any) -> httpx.Response:
    answer = _request(session, method, path, **options)
    if answer.status_code != 200:
        if answer.status_code in (401, 403):
            fix = fix or "Set ROBOPREF_LABEL_STUDIO_TOKEN to a manager's token, from Account & Settings."
        where = str(answer.url).partition("?")[0]
        raise StudioError(f"Could not {what}: {where} answered HTTP {answer.status_code}.", fix=fix)
    return answer
