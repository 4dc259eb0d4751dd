"""Label Studio accounts over plain HTTP: create an annotator, act as one.

In: the server's address and an administrator's token (the 40-hex legacy token or a personal access token).
Out: user ids and `requests` sessions. Label Studio's API can make a user but sets no password, so accounts
are made the way a person makes one: the sign-up form behind the organization's invite link, which works with
sign-up open or closed, on an unmodified server or one with the plugin.
"""

from collections.abc import Iterator
from typing import Any

import requests

from preference.errors import StudioError

TIMEOUT = (5.0, 60.0)  # seconds to connect, to answer; SQLite under load answers late, not never


def admin_session(base_url: str, token: str) -> requests.Session:
    """A session that acts as the token's owner.

    A personal access token is a refresh token: the access token bought with it here lasts five minutes, which
    is enough for what this module does with it.
    """
    session = requests.Session()
    base_url = base_url.rstrip("/")
    if token.count(".") == 2:  # header.payload.signature: a JSON web token
        answer = _request(session, "POST", f"{base_url}/api/token/refresh", json={"refresh": token})
        _expect(answer, 200, "refresh the access token", fix="Make a new one under Account & Settings.")
        session.headers["Authorization"] = f"Bearer {answer.json()['access']}"
    else:
        session.headers["Authorization"] = f"Token {token}"
    return session


def create_annotator(base_url: str, admin_token: str, email: str, password: str) -> int:
    """The id of the user `email`, who is created with `password` when there is no such user yet."""
    base_url, email = base_url.rstrip("/"), email.strip().lower()
    with admin_session(base_url, admin_token) as admin:
        found = _user_id(admin, base_url, email)
        if found is not None:
            return found
        invite = _request(admin, "GET", f"{base_url}/api/invite")
        _expect(invite, 200, "read the invite link")
        with requests.Session() as visitor:
            _sign_up(visitor, base_url, invite.json()["token"], email, password)
        found = _user_id(admin, base_url, email)
    if found is None:
        raise StudioError(f"{base_url} accepted the sign-up of {email}, but does not list that user.")
    return found


def annotator_session(base_url: str, email: str, password: str) -> requests.Session:
    """A session logged in as that user; every request it makes to the server acts as them.

    Cookies only, no token: it works whether or not the server accepts legacy tokens, and does not run out
    after five minutes as an access token does. Not to be shared between threads.
    """
    base_url = base_url.rstrip("/")
    session = requests.Session()
    page = f"{base_url}/user/login/"
    form = {"email": email.strip().lower(), "password": password, "persist_session": "on"}
    answer = _post_form(session, page, form)
    if answer.status_code != 302:
        session.close()
        raise StudioError(
            f"Label Studio at {base_url} did not let {email} in (HTTP {answer.status_code}).",
            fix="Check the address and the password.",
        )
    session.headers["Referer"] = page  # Django asks for it over https
    session.headers["X-CSRFToken"] = session.cookies.get("csrftoken") or ""
    return session


def _user_id(admin: requests.Session, base_url: str, email: str) -> int | None:
    for user in _users(admin, base_url):
        if str(user.get("email", "")).lower() == email:
            return int(user["id"])
    return None


def _users(admin: requests.Session, base_url: str) -> Iterator[dict[str, Any]]:
    answer = _request(admin, "GET", f"{base_url}/api/users/")
    _expect(answer, 200, "list the users", fix="Check the token; legacy tokens are off by default.")
    listed = answer.json()
    yield from listed if isinstance(listed, list) else listed["results"]


def _sign_up(visitor: requests.Session, base_url: str, invite_token: str, email: str, password: str) -> None:
    form = {"email": email, "password": password, "allow_newsletters": "false"}
    answer = _post_form(visitor, f"{base_url}/user/signup/?token={invite_token}", form)
    # The form is shown again, with status 200, when it is not accepted.
    if answer.status_code != 302:
        raise StudioError(
            f"Label Studio at {base_url} did not sign up {email} (HTTP {answer.status_code}).",
            fix="A password has 8 to 128 characters and is unlike the address.",
        )


def _post_form(session: requests.Session, url: str, form: dict[str, str]) -> requests.Response:
    _expect(_request(session, "GET", url), 200, f"open {url.partition('?')[0]}")
    hidden = {"csrfmiddlewaretoken": session.cookies.get("csrftoken", "")}
    return _request(session, "POST", url, data=form | hidden, headers={"Referer": url}, allow_redirects=False)


def _request(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
    try:
        return session.request(method, url, timeout=TIMEOUT, **options)
    except requests.RequestException as error:
        where = url.partition("?")[0]
        raise StudioError(
            f"Label Studio does not answer at {where}: {type(error).__name__}.",
            fix="Start it, or correct its address.",
        ) from error


def _expect(answer: requests.Response, status: int, what: str, *, fix: str = "") -> None:
    if answer.status_code != status:
        where = answer.url.partition("?")[0]
        if answer.status_code in (401, 403):
            fix = fix or "Set ROBOPREF_LABEL_STUDIO_TOKEN to a manager's token, from Account & Settings."
        raise StudioError(f"Could not {what}: {where} answered HTTP {answer.status_code}.", fix=fix)
