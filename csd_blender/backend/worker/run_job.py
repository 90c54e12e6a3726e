"""From a job folder to exactly one outcome, for the worker and the command line alike."""

from __future__ import annotations

import gc
import logging
import os
import traceback
from dataclasses import dataclass, field

import torch

from ...job.errors import JobError, writing_failed
from ...job.folder import JobFolder
from ...job.process.processes import HeldFile
from ...job.spec.text_to_3d import TextTo3DJob
from ..diffusion.loading import load_model, select_device
from ..diffusion.model import DiffusionModel
from ..optimize.out_of_memory import is_out_of_memory
from ..support.reporting import Reporter, Stopped

log = logging.getLogger(__name__)


@dataclass
class ModelCache:
    """Keeps the last diffusion model in memory, so that the next job starts at once."""

    key: tuple[str, str] | None = None
    model: DiffusionModel | None = None

    def get(self, name: str, wanted_device: str) -> DiffusionModel:
        """Load or return the model. Raises ``JobError`` as :func:`load_model` does."""
        device = select_device(wanted_device)
        if self.model is None or self.key != (name, str(device)):
            self.unload()
            self.model = load_model(name, device)
            self.key = (name, str(device))
        return self.model

    def unload(self) -> None:
        """Free the model's memory, on the GPU as well."""
        self.key = self.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass
class Outcome:
    """A job's terminal event: ``result``, ``error`` or ``cancelled``, with the body of the message."""

    type: str
    body: dict = field(default_factory=dict)


def warm_up() -> None:
    """Import what the first job needs while nobody waits for it."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401

    from ..pipelines.texture import compile_kernels

    compile_kernels()


def run_job(path: str, reporter: Reporter, models: ModelCache, resume: bool = False) -> Outcome:
    """Run the job in the folder ``path`` to its end; never raises.

    Every failure becomes an ``error`` outcome with one sentence for the artist; the traceback goes to the log.
    """
    try:
        return _run(path, reporter, models, resume)
    except JobError as error:
        log.warning("job failed: %s", error)
        if error.code == "oom":
            models.unload()
        return _error(error)
    except Stopped as stop:
        return _stopped(stop.reason)
    except KeyboardInterrupt:
        return Outcome("cancelled", {"kept": False, "files": {}})
    except OSError as error:
        log.exception("job failed")
        return _error(_system_error(error, path))
    except Exception as error:
        log.exception("job failed")
        if is_out_of_memory(error):
            models.unload()
            return _error(JobError("oom"))
        return _error(JobError("internal", "".join(traceback.format_exception_only(error)).strip()))


def _run(path: str, reporter: Reporter, models: ModelCache, resume: bool) -> Outcome:
    folder = JobFolder.open(path)
    with HeldFile(folder.path / "running.lock", "this job runs in another process already"):
        folder.tidy()
        return _run_in(folder, reporter, models, resume)


def _run_in(folder: JobFolder, reporter: Reporter, models: ModelCache, resume: bool) -> Outcome:
    emit = reporter.emit

    def emit_and_record(kind: str, body: dict) -> None:
        folder.append_event({"type": kind, **body})
        emit(kind, body)

    reporter.emit = emit_and_record
    reporter.preview_interval = folder.spec.preview_interval
    if isinstance(folder.spec, TextTo3DJob):
        from ..pipelines.text_to_3d.job import make_object as run
    else:
        from ..pipelines.texture import texture_mesh as run
    try:
        result = run(folder.spec, folder, reporter, models.get, resume=resume)
    except JobError as error:
        raise reporter.failure or error from None  # what went wrong first, not what that led to
    if reporter.failure is not None:
        return _error(reporter.failure, {"kept": True, "files": result.files})
    if result.cancelled:
        return Outcome("cancelled", {"kept": True, "files": result.files})
    return Outcome("result", {"files": result.files, "stats": result.stats})


def _system_error(error: OSError, path: str) -> JobError:
    """The sentence for what the system refused in the middle of a job in the folder ``path``."""
    if isinstance(error, FileNotFoundError) and not os.path.isdir(path):
        return JobError("bad_job_folder", f"{path} was removed or moved during the job")
    known = writing_failed(error, error.filename or path)
    return known if known.code == "no_space" or isinstance(error, PermissionError) else JobError("internal", str(error))


def _error(error: JobError, kept: dict | None = None) -> Outcome:
    """``kept``: what a job that failed late has all the same, as in ``cancelled``."""
    body = {"code": error.code, "text": error.text, "fix": error.fix, "retryable": error.retryable}
    return Outcome("error", body | {"detail": error.detail} | (kept or {}))


def _stopped(reason: str) -> Outcome:
    if reason == "cancel":
        return Outcome("cancelled", {"kept": False, "files": {}})
    return _error(JobError("interrupted"))


def backend_version() -> str:
    """The extension's version, as the manifest has it."""
    from ... import __version__

    return __version__
