"""A dataset by its Hugging Face id: `lerobot/pusht` in, the folder of the hub's cache that holds it out.

The hub's own package downloads, with its progress bar, and what it has already is not fetched again.
"""

from __future__ import annotations

import re
from pathlib import Path

from importer.pool.episode import BadInput
from preference.errors import DataError, needs

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(text: str) -> bool:
    """Whether `text` can only mean a dataset on the hub: OWNER/NAME, and no folder OWNER here."""
    return bool(HUB_ID.fullmatch(text)) and not Path(text.partition("/")[0]).exists()


def fetch(hub_id: str) -> Path:
    """The newest revision, downloaded into the hub's cache (HF_HOME) where it is not there yet.

    Raises:
        MissingExtra: the hub's package is not installed.
        DataError: the hub cannot be reached, has no such dataset, or asks for a login.
    """
    needs("huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    nothing = f"There is no folder {hub_id} here, and"
    try:
        return Path(snapshot_download(hub_id, repo_type="dataset"))
    except GatedRepoError:
        fix = "Accept them on its page, then run `hf auth login`."
        raise DataError(f"The hub gives {hub_id} only to those who accepted its terms.", fix=fix) from None
    except RepositoryNotFoundError:
        fix = "Correct the path or the id; for a private dataset run `hf auth login`."
        raise DataError(f"{nothing} no dataset of that name on the Hugging Face hub.", fix=fix) from None
    except LocalEntryNotFoundError:
        fix = "Correct the path, or download the dataset where there is a network."
        raise DataError(f"{nothing} the Hugging Face hub cannot be reached.", fix=fix) from None
    except Exception as error:  # the HTTP package's own, which differ from version to version of the hub's
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        fix = "Run again: what was downloaded is kept."
        raise BadInput(hub_id, "", f"could not be downloaded ({said})", fix=fix) from None
