"""Is a model of the hub there, and may we have it? Asked once, before anything is loaded.

Left to themselves, the loaders try again and again for most of a minute when there is no network, and then blame the
checkpoint. One request without retries tells a missing model, a gated one and a missing network apart.
"""

from __future__ import annotations

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ppl_scaling.errors import BackendError

__all__ = ["find_on_hub"]


def find_on_hub(name: str, filename: str, revision: str | None) -> bool:
    """Look for a model of the hub.

    Parameters
    ----------
    name : str
        Such as ``"owner/name"``.
    filename : str
        A file that the model must have.
    revision : str, optional

    Returns
    -------
    bool
        Whether the hub answered. If not, the model is in the local cache.

    Raises
    ------
    BackendError
        If there is no such model, revision or file, access to it is restricted, or the hub cannot be reached and the model
        is not in the local cache.
    """
    at = "" if revision is None else f" at revision {revision!r}"
    try:
        url = hf_hub_url(name, filename, revision=revision)
        get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HFValidationError:
        raise BackendError(
            f"expected the folder of a checkpoint or a hub name such as 'owner/name', got {name!r}, which is neither"
        ) from None
    except GatedRepoError:  # a special case of the next
        raise BackendError(
            f"access to the model {name!r} is restricted: accept its terms at {constants.ENDPOINT}/{name}, then log in with "
            "`hf auth login` or set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise BackendError(
            f"there is no folder {name!r} here and no public model of that name on the hub; check the name, or log in with "
            "`hf auth login` if it is private"
        ) from None
    except RevisionNotFoundError:
        raise BackendError(f"the model {name!r} on the hub has no revision {revision!r}") from None
    except EntryNotFoundError:
        hint = "; if it holds GGUF files, name one with gguf_file" if filename == constants.CONFIG_NAME else ""
        raise BackendError(f"the model {name!r} on the hub{at} has no file {filename!r}{hint}") from None
    except Exception as error:  # no network, in the words of whichever HTTP library is underneath, or a hub in trouble
        if isinstance(try_to_load_from_cache(name, filename, revision=revision), str):
            return False
        raise BackendError(
            f"there is no folder {name!r} here, the hub cannot be reached ({type(error).__name__}), and the model{at} is "
            "not in the local cache; check the name and the network"
        ) from error
    return True
