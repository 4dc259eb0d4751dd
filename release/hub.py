"""A release on the Hugging Face hub: a folder goes in, a dataset and a model repository come out.

The dataset repository has the release as it is; its README.md is the card that the hub shows. The model repository has
the weights under LeRobot's names, `inference.py` and a card of its own. Each gets one commit, so that a repository has
all files of a version or none, and a tag `v1.2.0` after it. Large files are sent before the commit and stay there when
a push is killed: the next one sends what is missing. A version that was pushed is never replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from preference.artifacts import read_json
from preference.errors import DataError, UserError
from preference.pages import render
from preference.work import progress
from release.archive import SUMS, check_folder, files_of, parse_sums
from release.safetensors import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

Gate = Literal["", "auto", "manual"]
MODEL_FILES = {
    CONFIG: CONFIG,
    WEIGHTS: "model.safetensors",
    "reward_model.onnx": "reward_model.onnx",
    "inference.py": "inference.py",
    "INPUT_FORMAT.md": "INPUT_FORMAT.md",
    "LICENSE": "LICENSE",
    "validation.json": "validation.json",
    SUMS: SUMS,
}
"""File of the release → its name in the model repository."""
AGAIN = "Run it again: what was sent is kept."
REMAKE = "Make the release again with this version of Robopref."


@dataclass(frozen=True)
class Pushed:
    """What is on the hub now."""

    version: str
    dataset: str
    """Address; empty where none was asked for."""
    model: str
    private: bool
    gated: str
    unchanged: bool = False
    """Both were there already."""


def push_release(
    folder: Path,
    *,
    dataset: str = "",
    model: str = "",
    private: bool = True,
    gated: Gate = "",
    endpoint: str | None = None,
) -> Pushed:
    """Put a release into the repositories that are named; they are made if they do not exist.

    Args:
        folder: An unpacked release.
        dataset, model: `OWNER/NAME` of the repositories; at least one.
        private: Of repositories that are made now; of those that exist it has to be true.
        gated: `auto` or `manual`: people ask for access before they can read. An open repository where empty.
        endpoint: Address of the hub, if it is another one than huggingface.co or HF_ENDPOINT.

    Raises:
        UserError: nothing is named, there is no token, the hub refuses or cannot be reached, or the version was pushed
            with other contents.
        DataError: the release is not complete or was changed.
    """
    from huggingface_hub import CommitOperationDelete, HfApi, get_token

    if not (dataset or model):
        raise UserError("No repository is named.", fix="Name --dataset OWNER/NAME, --model, or both.")
    contract = _checked(folder)
    version, tag = contract["version"], f"v{contract['version']}"
    token = (get_token() or "").strip()
    if not token:
        raise UserError("There is no Hugging Face token.", fix="Run `hf auth login`, or set HF_TOKEN.")
    if not (token.isascii() and token.isprintable()):
        raise UserError("The Hugging Face token has characters that none can have.", fix="Copy it again into HF_TOKEN.")
    api = HfApi(endpoint=endpoint, token=token)
    wanted = [(kind, name) for kind, name in (("dataset", dataset), ("model", model)) if name]
    sums = (folder / SUMS).read_text(encoding="utf-8")
    # all that can be refused comes before the first file
    new = []
    for kind, name in wanted:
        with _told(name):
            api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
            _check_visibility(api, kind, name, private)
            if not _is_there(api, kind, name, tag, sums):
                new.append((kind, name, _files(folder, kind, contract, dataset, model)))
                _check_card(api, kind, name, new[-1][2])
    with progress("Files to the hub", len(new)) as advance:
        for kind, name, files in new:
            operations: list[Any] = [*files]
            with _told(name):
                gone = _before(api, kind, name) - {one.path_in_repo for one in operations}
                operations += [CommitOperationDelete(path) for path in sorted(gone)]
                if gated:
                    api.update_repo_settings(name, repo_type=kind, gated=gated)
                api.create_commit(name, operations, commit_message=f"Version {version}", repo_type=kind)
                api.create_tag(name, tag=tag, repo_type=kind, exist_ok=True)
            advance(1)
    address = {kind: f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}" for kind, name in wanted}
    return Pushed(version, address.get("dataset", ""), address.get("model", ""), private, gated, not new)


def _checked(folder: Path) -> dict[str, Any]:
    """The contract of a release that is what was released.

    Raises:
        DataError: it is an archive, was changed, or lacks files.
    """
    check_folder(folder)
    described = read_json(folder / CONFIG, fix=REMAKE)
    try:
        return json.loads(described["contract"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{folder / CONFIG}, contract: expected the model's input as JSON.", fix=REMAKE) from None


def _check_visibility(api: HfApi, kind: str, name: str, private: bool) -> None:
    """
    Raises:
        UserError: the repository exists and everybody can read it, but the release was to be private.
    """
    if private and not api.repo_info(name, repo_type=kind).private:
        raise UserError(
            f"{name} is public, but this release is to be private.",
            fix="Name another repository, or publish it with --public.",
        )


def _is_there(api: HfApi, kind: str, name: str, tag: str, sums: str) -> bool:
    """Whether the repository has this version already.

    Raises:
        UserError: it has the version with other contents.
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError

    tags = {one.name for one in api.list_repo_refs(name, repo_type=kind).tags}
    if tag not in tags:
        return False
    try:
        kept = api.hf_hub_download(name, SUMS, repo_type=kind, revision=tag)
        same = Path(kept).read_text(encoding="utf-8") == sums
    except LocalEntryNotFoundError:  # an EntryNotFoundError that says nothing of the entry
        raise UserError(f"The hub cannot be reached for {name}.", fix=AGAIN) from None
    except (EntryNotFoundError, RevisionNotFoundError):
        same = False
    if not same:
        raise UserError(
            f"{name} has {tag} already, with other contents; a released version never changes.",
            fix="Release the next version and push that.",
        )
    return True


def _check_card(api: HfApi, kind: str, name: str, files: Iterable[CommitOperationAdd]) -> None:
    """
    Raises:
        UserError: the hub does not take the header of README.md. It would say so at the commit, when the other
            repository may have the version already.
    """
    from huggingface_hub.utils import build_hf_headers, get_session

    card = next(one for one in files if one.path_in_repo == "README.md")
    with card.as_file() as file:
        asked = {"content": file.read().decode(), "repoType": kind}
    headers = build_hf_headers(token=api.token)
    answer = get_session().post(f"{api.endpoint}/api/validate-yaml", json=asked, headers=headers)
    if answer.status_code == 400:
        said = "; ".join(str(one.get("message")) for one in answer.json().get("errors", []))
        raise UserError(
            f"The hub does not take the card of {name}: {said or 'it does not say why'}.",
            fix="If it is the license, set release.license to one that the hub knows, and release the next version.",
        )


def _before(api: HfApi, kind: str, name: str) -> set[str]:
    """Files of the version that the repository has; what others put there is not ours to delete."""
    from huggingface_hub.errors import EntryNotFoundError

    there = set(api.list_repo_files(name, repo_type=kind))
    if kind == "model":
        return there & set(MODEL_FILES.values())
    try:
        text = Path(api.hf_hub_download(name, SUMS, repo_type=kind)).read_text(encoding="utf-8")
    except EntryNotFoundError:
        return set()
    return there & set(parse_sums(text))


def _files(folder: Path, kind: str, contract: dict[str, Any], dataset: str, model: str) -> list[CommitOperationAdd]:
    from huggingface_hub import CommitOperationAdd

    if kind == "dataset":
        return [CommitOperationAdd(name, path) for name, path in files_of(folder).items()]
    found = [CommitOperationAdd(new, folder / old) for old, new in MODEL_FILES.items() if (folder / old).is_file()]
    header = _front_matter(folder)
    validation = read_json(folder / "validation.json")
    card = render(
        "release", "MODEL_CARD.md.jinja", contract=contract, dataset=dataset, model=model,
        license_lines=[line for line in header if line.startswith("license")] or ["license: other"],
        people="- expert-generated" in header, simulated="- machine-generated" in header,
        accuracy=validation["ranking_accuracy"], trusted=validation.get("trusted"),
    )  # fmt: skip
    return [*found, CommitOperationAdd("README.md", card.encode())]


def _front_matter(folder: Path) -> list[str]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    return text.split("---")[1].splitlines() if text.count("---") > 1 else []


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What the hub says as one sentence."""
    from huggingface_hub.errors import BadRequestError, HfHubHTTPError, HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise UserError(f"{name!r} is not the name of a repository: {error}", fix="Write it as OWNER/NAME.") from None
    except BadRequestError as error:
        raise UserError(f"The hub does not take it into {name}: {str(error).splitlines()[-1]}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise UserError(
                f"The hub refuses this token for {name} ({status}).", fix="Use a token that may write there."
            ) from None
        raise UserError(f"The hub failed at {name} ({status}).", fix=AGAIN) from None
    except Exception as error:
        # the hub's client came with requests, httpx and httpx2, and lets their errors through
        if not isinstance(error, OSError) and not type(error).__module__.startswith(("requests", "httpx")):
            raise
        raise UserError(f"The hub cannot be reached: {str(error).rstrip('.')}.", fix=AGAIN) from None
