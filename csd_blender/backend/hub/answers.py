"""What goes wrong between this computer and the hub, in one sentence with what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ...job.errors import JobError, writing_failed

ROOM = "Free some space, or choose another folder for models, then get it again; what came so far is kept."
GONE = "Open the page in a browser; where it is there all the same, log in by “hf auth login” and get the model again."
LOG_IN = (
    "Agree to it on {page}, make an access token in your account's settings there, and set HF_TOKEN to it or log in by "
    "“hf auth login”; then get the model again."
)


@contextmanager
def in_words(source: str, what: str = "") -> Iterator[None]:
    """Turn what the hub's client raises into a ``JobError``.

    ``source``: the repository. ``what``: the file that is being fetched, where it is one.
    """
    page = f"{constants.ENDPOINT}/{source}"
    try:
        yield
    except GatedRepoError as error:
        raise JobError("model_gated", source, LOG_IN.format(page=page)) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, DisabledRepoError) as error:
        raise JobError("model_gone", f"{page}, {what}" if what else page, GONE) from error
    except HfHubHTTPError as error:
        raise _refused(error, source, page) from error
    except OfflineModeIsEnabled as error:
        raise JobError("download_failed", "HF_HUB_OFFLINE is set", "Unset it, then get the model again.") from error
    except HFValidationError as error:
        raise JobError("model_missing", f"“{source}” is no name of a model") from error
    except httpx2.HTTPError as error:
        raise JobError(
            "download_failed", f"the connection to {constants.ENDPOINT} broke off or was never made"
        ) from error
    except OSError as error:
        if error.errno is None:  # of the client itself: what came is not what was announced
            raise JobError("download_failed", f"{what or source} did not come whole") from error
        known = writing_failed(error, error.filename or what)
        fix = ROOM if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG) else known.fix
        raise JobError(known.code, known.detail, fix) from error


def _refused(error: HfHubHTTPError, source: str, page: str) -> JobError:
    status = error.response.status_code if error.response is not None else 0
    if status == 401 and "Invalid credentials" in error.response.headers.get("X-Error-Message", ""):
        fix = "Renew it with “hf auth login”, or take it out of HF_TOKEN; then get the model again."
        return JobError("download_failed", "Hugging Face does not accept this computer's access token", fix)
    if status == 403:
        return JobError("model_gated", source, LOG_IN.format(page=page))
    if status in (401, 404):  # the hub says either of what does not exist, and of what is not for everybody
        return JobError("model_gone", page, GONE)
    if status == 429:
        return JobError(
            "download_failed", "Hugging Face wants fewer requests from here", "Get it again in some minutes."
        )
    if status == 416:
        return JobError(
            "download_failed", f"{source} has become shorter", "Cancel the download and get the model again."
        )
    return JobError("download_failed", f"{constants.ENDPOINT} answers with error {status}")
