"""The server that `label-studio-ml start` runs, and `_wsgi:app` for gunicorn; for label-studio-ml 2.x and 1.0.9."""

from __future__ import annotations

import argparse
import hmac
import logging
import os
from typing import Any

import label_studio_ml.model  # pyright: ignore[reportMissingImports]
from label_studio_ml import api  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
from model import SECRET_HEADER, START_TRAINING, Robopref

LOG_LEVEL = os.environ.get("LOG_LEVEL") or "INFO"
log = logging.getLogger("robopref")
IS_1_0_9 = hasattr(label_studio_ml.model, "LabelStudioMLManager")


def create_app(log_level: str, **basic_auth: str) -> Any:
    """The Flask application; `basic_auth_user` and `basic_auth_pass` as 2.x's `init_app` takes them."""
    logging.basicConfig(level=log_level, format="[%(asctime)s] [%(levelname)s] [%(name)s] %(message)s")
    logging.getLogger("label_studio_ml.api").setLevel(logging.INFO)  # at DEBUG it logs Label Studio's access tokens
    if IS_1_0_9:
        from manager import Manager

        api._manager = Manager()
    else:
        api.TRAIN_EVENTS = (*api.TRAIN_EVENTS, "ANNOTATIONS_DELETED")  # the name that Label Studio uses
    app = api.init_app(Robopref, **basic_auth)
    app.before_request(check_secret)
    return app


def check_secret() -> tuple[Any, int] | None:
    """Where a secret is set, an event must carry it, as it is passed on with it.

    Label Studio sends START_TRAINING without the secret, and with the password where there is one. Without either, it
    gets its 201 and nothing is passed on.
    """
    secret = os.environ.get("ROBOPREF_WEBHOOK_SECRET", "")
    if not secret or api.request.path not in ("/webhook", "/train"):
        return None
    found = api.request.headers.get(SECRET_HEADER, "")
    if hmac.compare_digest(found.encode(), secret.encode()):
        return None
    event = api.request.get_json(silent=True)
    if api.request.path == "/webhook" and (not isinstance(event, dict) or event.get("action") != START_TRAINING):
        return f"the header {SECRET_HEADER} is missing or wrong\n", 401
    if getattr(api, "BASIC_AUTH", None):  # 2.x, which has checked the password by now
        return None
    log.warning(
        "START_TRAINING is not passed on, as it carried neither the header %s nor a password, so anybody may have "
        "sent it. robopref worker trains by itself once enough answers are new.", SECRET_HEADER,
    )  # fmt: skip
    return {"passed_on": False}, 201


def main() -> None:
    parser = argparse.ArgumentParser(description="Robopref's ML backend under label-studio-ml.")
    parser.add_argument("-p", "--port", type=int, default=9090)
    parser.add_argument(
        "--host", default="127.0.0.1", help="Default: %(default)s; 0.0.0.0 to be reached from elsewhere."
    )
    parser.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default=LOG_LEVEL)
    parser.add_argument("--basic-auth-user", help="2.x only.")
    parser.add_argument("--basic-auth-pass", help="2.x only.")
    given = parser.parse_args()
    basic_auth = {name: value for name, value in vars(given).items() if name.startswith("basic_auth") and value}
    if basic_auth and IS_1_0_9:
        parser.error("label-studio-ml 1.0.9 has no Basic auth; use 2.x or `robopref serve`")
    create_app(given.log_level, **basic_auth).run(host=given.host, port=given.port)


if __name__ == "__main__":
    main()
else:
    app = create_app(LOG_LEVEL)
