"""Secrets from the environment, or from files that it names.

`NAME` holds the secret, or `NAME_FILE` the path of a file with it, as Docker and Kubernetes mount them. A secret may
hold any character; of a file only the line end is taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from preference.errors import ConfigError


def read_secret(name: str, environment: Mapping[str, str]) -> str:
    """The secret `name`; empty where neither variable is set.

    Raises:
        ConfigError: both are set, or the file cannot be read, is empty, or has more than one line.
    """
    given, place = environment.get(name, ""), environment.get(f"{name}_FILE", "")
    if not place:
        return given
    if given:
        raise ConfigError(f"{name} and {name}_FILE are both set.", fix="Set one of them.")
    try:
        text = Path(place).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{name}_FILE names {place}, which does not exist.", fix="Write the secret to it.") from None
    except IsADirectoryError:
        fix = "Docker makes one where the file was missing: delete it, and write the secret to a file."
        raise ConfigError(f"{name}_FILE names {place}, which is a folder.", fix=fix) from None
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "not text in UTF-8"
        fix = "The user that this runs as must be able to read the file."
        raise ConfigError(f"{name}_FILE names {place}, which cannot be read: {said}.", fix=fix) from None
    lines = text.splitlines()
    if len(lines) != 1 or not lines[0]:
        fix = "Write the secret to it, and nothing else."
        raise ConfigError(f"{name}_FILE: expected one line in {place}, found {len(lines) or 'none'}.", fix=fix)
    return lines[0]


def with_password(url: str, password: str, name: str) -> str:
    """A database's URL with this password, whatever characters it has.

    Args:
        name: The setting that holds `password`.

    Raises:
        ConfigError: the URL names no user, or has a password already.
    """
    scheme, _, rest = url.partition("://")
    login, at, place = rest.partition("@")
    if not at or not login or ":" in login:
        said = "has a password already" if ":" in login and at else "names no user"
        raise ConfigError(f"{name}: the URL {said}.", fix="Write it as postgresql://USER@HOST/NAME.")
    return f"{scheme}://{login}:{quote(password, safe='')}@{place}"


def check_password_in(url: str, name: str) -> None:
    """A password with an @ would move the host's name to another place.

    Args:
        name: The setting that holds `url`.

    Raises:
        ConfigError: there is one.
    """
    login, at, _ = url.partition("://")[2].partition("?")[0].rpartition("@")
    if at and "@" in login:
        raise ConfigError(
            f"{name}: the password has an @, which ends a password in a URL.",
            fix=f"Put the password into {name.removesuffix('_URL')}_PASSWORD, or into a file that "
            f"{name.removesuffix('_URL')}_PASSWORD_FILE names; or write the @ as %40.",
        )
