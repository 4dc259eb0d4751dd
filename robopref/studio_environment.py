"""Everything that our Label Studio is told at its start: no telemetry, local files, closed sign-up."""

import os
from pathlib import Path

SETTINGS = "labeling_config.plugin.settings"
# All that the child inherits. Label Studio reads its settings from bare names too (HOST, PORT, DEBUG, USERNAME),
# so a stray variable of the caller's would change the server.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
QUIET = {
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "FEATURE_FLAGS_OFFLINE": "true",
    "DEBUG": "false",
    "LOG_LEVEL": "WARNING",
}


def environment(data_dir: Path, document_root: Path, account: dict[str, str], *, plugin: bool) -> dict[str, str]:
    """Everything the server is told, its first user's `account` (USERNAME, PASSWORD, USER_TOKEN) included."""
    import labeling_config
    from labeling_config.plugin.subnets import banned

    home = Path(labeling_config.__file__).resolve().parents[1]
    given = {name: os.environ[name] for name in INHERITED if name in os.environ}
    given |= QUIET | {f"LABEL_STUDIO_{name}": value for name, value in account.items()}
    given |= {
        "PYTHONPATH": str(home),
        "PYTHONUNBUFFERED": "1",
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "1",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "USER_ADDITIONAL_BANNED_SUBNETS": ",".join(banned()),
    }
    return given | ({"DJANGO_SETTINGS_MODULE": SETTINGS} if plugin else {})
