"""The code in the corner of a clip: people can name the clip by it, and only this project's database resolves it.

A trajectory's own id carries its dataset's name, which often is its source.
"""

from __future__ import annotations

import hashlib

from preference.config import Clips
from preference.errors import UserError
from preference.records import Trajectory
from preference.workspace import Workspace

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without what is easily mistaken on a screen: 0, O, 1, I, L, and U beside V."""
LENGTH = 6
"""7e8 codes: in a pool of 10,000 two trajectories share one with a probability of 7 %, and `find` then names both."""


def watermark_of(trajectory_id: str, clips: Clips, salt: int) -> str:
    """What the clip shows in its corner; empty = nothing."""
    if clips.watermark == "code":
        return code_of(trajectory_id, salt)
    return trajectory_id if clips.watermark == "trajectory_id" else ""


def code_of(trajectory_id: str, salt: int) -> str:
    """A keyed hash of the id: it tells nothing to anybody who does not know the salt."""
    key = salt.to_bytes(32, "big")
    number = int.from_bytes(hashlib.blake2b(trajectory_id.encode(), key=key, digest_size=16).digest(), "big")
    letters = []
    for _ in range(LENGTH):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return "".join(letters)


def find(ws: Workspace, code: str) -> list[Trajectory]:
    """The trajectories whose clips show `code`: one, or by a rare chance two.

    Raises:
        UserError: there is none.
    """
    wanted = code.strip().upper()
    found = [t for t in ws.store.trajectories() if code_of(t.trajectory_id, ws.salt) == wanted]
    if not found:
        raise UserError(f"No clip of this project shows the code {wanted}.", fix="Check it against the clip's corner.")
    return found
