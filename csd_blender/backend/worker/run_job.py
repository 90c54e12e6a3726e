"""From a job folder to exactly one outcome, for the worker and the command line alike."""

from __future__ import annotations

import logging
import os
import traceback
from dataclasses import dataclass

from ...job.errors import JobError, writing_failed
from ...job.files import LOCK
from ...job.folder import JobFolder
from ...job.kinds import JobSpec
from ...job.models.contents import Stamp, stamp_of
from ...job.models.licences import check_job, models_of, unknown_terms
from ...job.models.lora import ADAPTER_CONFIG, Lora
from ...job.process.bodies import Body, Cancelled, Failed, Finished
from ...job.process.processes import HeldFile
from ...job.spec.edit import EditJob
from ...job.spec.picture import PictureJob
from ...job.spec.text_to_3d import TextTo3DJob
from ...job.spec.texture import TextureJob
from ..diffusion.loading import find_model, load_model, select_device
from ..diffusion.model import DiffusionModel
from ..optimize.out_of_memory import is_out_of_memory, make_free
from ..support.reporting import Reporter, Stopped
from .known_models import note_models

log = logging.getLogger(__name__)


@dataclass
class ModelCache:
    """Keeps the last diffusion model in memory, so that the next job starts at once.

    It is loaded again where another one lies in its place by then, or another LoRA in that of its own.
    """

    key: tuple[str, str, str, Lora | None, Stamp] | None = None
    model: DiffusionModel | None = None

    def get(self, name: str, wanted_device: str, lora: Lora | None = None, told: str = "prompt") -> DiffusionModel:
        """Load or return the model. Raises ``JobError`` as :func:`load_model` does."""
        device = select_device(wanted_device)
        places = [find_model(name, told)]
        places += [] if lora is None else [lora.file, lora.file.with_name(ADAPTER_CONFIG)]
        key = (name, told, str(device), lora, tuple(entry for place in places for entry in stamp_of(place)))
        if self.model is None or self.key != key:
            self.unload()
            self.model = load_model(name, device, lora, told)
            self.key = key
        return self.model

    def unload(self) -> None:
        """Free the model's memory, on the GPU as well."""
        self.key = self.model = None
        make_free()


#: A job's terminal event.
Outcome = Finished | Cancelled | Failed


def warm_up() -> None:
    """Import what the first job needs while nobody waits for it."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401

    from ..pipelines.texture import compile_kernels

    compile_kernels()


def run_job(path: str, reporter: Reporter, models: ModelCache, resume: bool = False) -> Outcome:
    """Run the job in the folder ``path`` to its end; never raises.

    Every failure becomes a ``Failed`` with one sentence for the artist; the traceback goes to the log.
    """
    try:
        return _run(path, reporter, models, resume)
    except JobError as error:
        log.warning("job failed: %s", error)
        if error.code == "oom":
            models.unload()
        return Failed.of(error)
    except Stopped as stop:
        return _stopped(stop.reason)
    except KeyboardInterrupt:
        return Cancelled()
    except OSError as error:
        log.exception("job failed")
        return Failed.of(_system_error(error, path))
    except Exception as error:
        log.exception("job failed")
        if is_out_of_memory(error):
            models.unload()
            return Failed.of(JobError("oom"))
        return Failed.of(JobError("internal", "".join(traceback.format_exception_only(error)).strip()))


def _run(path: str, reporter: Reporter, models: ModelCache, resume: bool) -> Outcome:
    folder = JobFolder.open(path)
    with HeldFile(folder.path / LOCK, "this job runs in another process already"):
        folder.tidy()
        return _run_in(folder, reporter, models, resume)


def _run_in(folder: JobFolder, reporter: Reporter, models: ModelCache, resume: bool) -> Outcome:
    emit = reporter.emit

    def emit_and_record(said: Body) -> None:
        folder.append_event({"type": said.type, **said.to_json()})
        emit(said)

    reporter.emit = emit_and_record
    check_licences(folder.spec, reporter)
    note_models(folder, reporter, resume)
    reporter.preview_interval = folder.spec.preview_interval
    # Imported here, since a pipeline brings much that an answer to a mistake does not need.
    try:
        match folder.spec:
            case EditJob(is_free=True) as job:
                from ..pipelines.edit_shape import edit_shape

                result = edit_shape(job, folder, reporter, models.get, resume=resume)
            case EditJob() as job:  # before its parent
                from ..pipelines.edit import edit_texture

                result = edit_texture(job, folder, reporter, models.get, resume=resume)
            case TextureJob() as job:
                from ..pipelines.texture import texture_mesh

                result = texture_mesh(job, folder, reporter, models.get, resume=resume)
            case TextTo3DJob() as job:
                from ..pipelines.text_to_3d.job import make_object

                result = make_object(job, folder, reporter, models.get, resume=resume)
            case PictureJob() as job:
                from ..pipelines.picture import make_pictures

                result = make_pictures(job, folder, reporter, models.get, resume=resume)
    except JobError as error:
        raise reporter.failure or error from None  # what went wrong first, not what that led to
    if reporter.failure is not None:
        return Failed.of(reporter.failure, result.files)
    if result.cancelled:
        return Cancelled(True, result.files)
    return Finished(result.files, result.stats)


def check_licences(job: JobSpec, reporter: Reporter) -> None:
    """Refuse models that the artist did not clear, by ``JobError('licence_not_accepted')``; name those whose terms
    nobody here knows, where only cleared ones are wanted."""
    check_job(job)
    if not job.allow_noncommercial:
        for said in filter(None, (unknown_terms(name) for name in models_of(job))):
            reporter.warn("licence_unknown", said)


def _system_error(error: OSError, path: str) -> JobError:
    """The sentence for what the system refused in the middle of a job in the folder ``path``."""
    if isinstance(error, FileNotFoundError) and not os.path.isdir(path):
        return JobError("bad_job_folder", f"{path} was removed or moved during the job")
    known = writing_failed(error, error.filename or path)
    return known if known.code == "no_space" or isinstance(error, PermissionError) else JobError("internal", str(error))


def _stopped(reason: str) -> Outcome:
    if reason == "cancel":
        return Cancelled()
    return Failed.of(JobError("interrupted"))
