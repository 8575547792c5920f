"""References to models on the Hugging Face hub: ``org/name`` or ``org/name@revision``."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

from mechdecouple.errors import ModelError

_REF = re.compile(r"(?P<repo>[\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@(?P<revision>[^\s@:*?\[\\~^]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubRef(NamedTuple):
    """A repository of models, and the branch, tag or commit meant (None: its default branch)."""

    repo: str
    revision: str | None

    @property
    def name(self) -> str:
        """Short name for tables: the last part of the repository's, with the revision."""
        last = self.repo.rpartition("/")[2]
        return last if self.revision is None else f"{last}@{self.revision}"


def parse_hub(ref: str) -> HubRef | None:
    """What a reference names on the hub; None where it has not the form of one. A path that exists is none: look first.

    >>> parse_hub("EleutherAI/pythia-70m@step1000")
    HubRef(repo='EleutherAI/pythia-70m', revision='step1000')
    """
    found = _REF.fullmatch(ref)
    return None if found is None else HubRef(found["repo"], found["revision"])


def hub_commit(ref: HubRef) -> str:
    """The commit (40 hexadecimal digits) that a reference stands for now: the hub's own answer where it can be reached,
    else the one in the local cache. Only the configuration is fetched.

    Raises:
        ModelError: there is no such model or revision on the hub, or in the cache where the hub cannot be reached.
    """
    commit = hub_config(ref).parent.name
    if not _COMMIT.fullmatch(commit):
        raise ModelError(f"{_text(ref)}: its cache names no commit ({commit!r}): load it again")
    return commit


def hub_config(ref: HubRef) -> Path:
    """The model's ``config.json`` in the local cache, fetched anew where the hub has another one.

    Raises:
        ModelError: as `hub_commit`.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(ref.repo, "config.json", revision=ref.revision, local_files_only=offline()))
    except (
        Exception
    ) as error:  # the hub's client raises many kinds: absent, private, unreachable, a name that cannot be
        raise ModelError(f"{_text(ref)}: {absent(ref, error)}") from None


def hub_revisions(repo: str) -> list[str]:
    """Branches and tags of a repository on the hub, those of its local cache where the hub cannot be reached, sorted.

    Raises:
        ModelError: there is no such model on the hub, or in the cache where the hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    if not (offline() or constants.HF_HUB_OFFLINE):
        try:
            found = HfApi().list_repo_refs(repo)
        except Exception as error:  # as above
            raise ModelError(f"{repo}: {absent(HubRef(repo, None), error)}") from None
        return sorted({one.name for one in (*found.branches, *found.tags)})
    try:
        cached = [one for one in scan_cache_dir(constants.HF_HUB_CACHE).repos if one.repo_id == repo]
    except CacheNotFound:
        cached = []
    if not cached:
        raise ModelError(f"{repo}: no model of that name in the cache of the hub, which cannot be reached")
    return sorted({name for one in cached if one.repo_type == "model" for name in one.refs})


def absent(ref: HubRef, error: Exception) -> str:
    """Why nothing answers to a reference, in a clause."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    what = "no model of that name" if ref.revision is None else f"no model of that name with revision {ref.revision!r}"
    return f"no such file or directory, and {what} on the hub or in its cache ({first})"


def offline() -> bool:
    """Whether the hub's name does not even resolve, so that waiting for it would be in vain."""
    if any(os.environ.get(v) for v in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return False
    host = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname or "huggingface.co"
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return True
    return False


def _text(ref: HubRef) -> str:
    return ref.repo if ref.revision is None else f"{ref.repo}@{ref.revision}"
