"""Label Studio's settings with Robopref's on top: DJANGO_SETTINGS_MODULE=labeling_config.plugin.settings.

What changes: the plugin is loaded; sign-up needs the organization's invite link; SQLite stands several annotators at
once; the guard against calling private addresses stays, but lets the ML backend's network through
(ROBOPREF_BACKEND_SUBNETS, by default loopback); secrets may be in files (`SECRETS`); behind a proxy with TLS
(ROBOPREF_PUBLIC_URL) forms and cookies know the address. Everything else is read from Label Studio's own variables.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from preference.secret_files import read_secret

_found = find_spec("label_studio")
if _found is None or _found.origin is None:
    raise ImportError("Label Studio is not installed, so its settings cannot be extended.")
SECRETS = ("POSTGRE_PASSWORD", "LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_USER_TOKEN", "ROBOPREF_CONSOLE_SECRET")
for _name in SECRETS:  # a file that NAME_FILE names; Label Studio itself knows only NAME
    if _value := read_secret(_name, os.environ):
        os.environ[_name] = _value
        os.environ.pop(f"{_name}_FILE", None)
# Label Studio loads nltk, which loads SciPy and scikit-learn where they are installed: a third of the CPU of a start
# and 50 MB. nltk does without them; Label Studio uses neither. None means "not installed" to whoever imports it.
sys.modules.setdefault("scipy", None)  # pyright: ignore[reportArgumentType]
# Label Studio imports its own apps by bare names (core, users, projects), as its start script arranges.
if (_home := str(Path(_found.origin).parent)) not in sys.path:
    sys.path.insert(0, _home)
# Read by core.settings.base while it is imported; nothing of ours is to be reported anywhere.
os.environ.setdefault("SENTRY_DSN", "")
os.environ.setdefault("FRONTEND_SENTRY_DSN", "")

# Twice on purpose: the second asks Django for settings while it is imported, and gets what this module holds so far.
from core.settings.base import *  # noqa: E402, F403  # pyright: ignore[reportMissingImports]
from label_studio.core.settings.label_studio import *  # noqa: E402, F403  # pyright: ignore[reportMissingImports, reportWildcardImportFromLibrary]
from label_studio.core.settings.label_studio import (  # noqa: E402  # pyright: ignore
    DATABASES,
    INSTALLED_APPS,  # pyright: ignore
    LOGGING,  # pyright: ignore
    MIDDLEWARE,  # pyright: ignore
)

from labeling_config.plugin.subnets import LOOPBACK, banned  # noqa: E402

INSTALLED_APPS = [*INSTALLED_APPS, "labeling_config.plugin.apps.PluginConfig"]
ROOT_URLCONF = "labeling_config.plugin.urls"
# Views' hooks run once all of these have seen the request, so the user is known however they came: session, legacy
# token or personal access token. In front of the one that writes "last activity", so that a refusal writes nothing.
_last_activity = "core.middleware.UpdateLastActivityMiddleware"
_at = MIDDLEWARE.index(_last_activity) if _last_activity in MIDDLEWARE else len(MIDDLEWARE)
MIDDLEWARE = [
    "labeling_config.plugin.slash.SlashMiddleware",
    *MIDDLEWARE[:_at],
    "labeling_config.plugin.middleware.StrangerMiddleware",
    "labeling_config.plugin.middleware.AccessMiddleware",
    "labeling_config.plugin.middleware.CourseMiddleware",
    "labeling_config.plugin.middleware.ScriptMiddleware",
    *MIDDLEWARE[_at:],
]
PROJECT_MIXIN = "labeling_config.plugin.access.OwnedProjectMixin"
ANNOTATION_MIXIN = "labeling_config.plugin.one_answer.OneAnswerMixin"
TASK_MIXIN = "labeling_config.plugin.kept_meta.KeptMetaMixin"
DISABLE_SIGNUP_WITHOUT_LINK = True

# As shipped, four annotators at once meet "database is locked", and answers are saved though the reply was an error.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 30,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=30000;",
    }

# One log line per request would bury the warnings, and would carry invite links.
LOGGING["loggers"]["django.server"] = {"handlers": ["console"], "level": "WARNING", "propagate": False}

# A connection is kept for the next request, and looked at first: making one takes longer than most of the queries.
DATABASES["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}

_PUBLIC = os.environ.get("ROBOPREF_PUBLIC_URL", "").rstrip("/")
if _PUBLIC:
    CSRF_TRUSTED_ORIGINS = [f"{urlsplit(_PUBLIC).scheme}://{urlsplit(_PUBLIC).netloc}"]
if _PUBLIC.startswith("https://"):
    # Caddy and nginx set this header themselves, whatever the browser sends.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True

_ALLOWED = os.environ.get("ROBOPREF_BACKEND_SUBNETS", LOOPBACK).replace(",", " ").split()
ML_BLOCK_LOCAL_IP = True
USE_DEFAULT_BANNED_SUBNETS = False
USER_ADDITIONAL_BANNED_SUBNETS = banned(_ALLOWED)
