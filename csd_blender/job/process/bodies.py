"""Every message that Blender and the backend exchange: its fields, their types and ranges, for both sides.

Whoever shows a message can rely on it: :func:`read` passes over a body that is not of its type; of the messages that
must arrive, ``hello`` and a job's end, only the fields that are wrong are passed over. Fields that this version does
not know are no fault.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import JobError, quoted
from .body import (
    Body,
    WrongField,
    a_number,
    a_path,
    a_place,
    a_switch,
    a_text,
    any_number,
    anything,
    list_of,
    one_of,
    or_none,
    sent,
    table_of,
    whole,
    wire_fields,
)
from .messages import PROTOCOL, Message

PICTURE_SIDE = 4096  # pixels, of a preview
TEXTURE, VIEW, MESH = "texture", "view", "mesh"  # kinds of previews
PICTURES = (TEXTURE, VIEW)

log = logging.getLogger(__name__)


# ---- to the backend --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Greeting(Body):
    """The first word of whoever started the backend."""

    type: ClassVar[str] = "hello"
    client: str = sent(a_text, "")
    protocol: int = sent(whole(), PROTOCOL)


@dataclass(frozen=True)
class Submit(Body):
    """Run the job in ``folder``; ``resume`` goes on from its newest checkpoint, where it has one."""

    type: ClassVar[str] = "submit"
    folder: str = sent(a_path)
    resume: bool = sent(a_switch, False)


@dataclass(frozen=True)
class Cancel(Body):
    """End the job that the message names, and keep the best so far."""

    type: ClassVar[str] = "cancel"


@dataclass(frozen=True)
class Shutdown(Body):
    """Leave; a running job stores a checkpoint first. The end of stdin says the same."""

    type: ClassVar[str] = "shutdown"


# ---- from the backend: about itself ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Device(Body):
    """An entry of ``hello``'s devices; ``memory_mb`` in MiB."""

    id: str = sent(a_text)
    name: str = sent(a_text, "")
    memory_mb: float = sent(a_number, 0)


def a_device(value: object) -> Device:
    if not isinstance(value, dict):
        raise ValueError("a table")
    return Device.from_json(value)


@dataclass(frozen=True)
class Hello(Body):
    """The first word of the backend: what it is, and what it runs on."""

    type: ClassVar[str] = "hello"
    must_arrive: ClassVar[bool] = True
    protocol: int = sent(whole(), 0)
    version: str = sent(a_text, "")
    python: str = sent(a_text, "")
    torch: str = sent(a_text, "")
    default_device: str = sent(a_text, "")
    devices: tuple[Device, ...] = sent(list_of(a_device), ())
    features: tuple[str, ...] = sent(list_of(a_text), ())
    pid: int = sent(whole(0, 2**40), 0)


@dataclass(frozen=True)
class Heartbeat(Body):
    """Once a second, whatever else happens; ``time`` is the backend's clock, in seconds since the epoch."""

    type: ClassVar[str] = "heartbeat"
    phase: str = sent(a_text, "")
    time: float = sent(any_number, 0.0)


@dataclass(frozen=True)
class Bye(Body):
    """The last word of a backend that leaves in good order."""

    type: ClassVar[str] = "bye"


# ---- from the backend: about a job -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accepted(Body):
    """The job that was submitted begins."""

    type: ClassVar[str] = "accepted"


@dataclass(frozen=True)
class StageBegun(Body):
    """Stage ``index`` (from 0) of ``count`` begins; ``label`` is for the artist."""

    type: ClassVar[str] = "stage"
    name: str = sent(a_text)
    label: str = sent(a_text)
    index: int = sent(whole(), 0)
    count: int = sent(whole(), 0)


@dataclass(frozen=True)
class Progress(Body):
    """So far in the stage; at most four a second. Memory in MiB, of the process and of the device."""

    type: ClassVar[str] = "progress"
    step: int = sent(whole())
    total: int = sent(whole())
    stage: str = sent(a_text, "")
    steps_per_second: float = sent(a_number, 0.0)
    seconds_left: float | None = sent(or_none(a_number), None)
    memory_mb: float = sent(a_number, 0)
    device_memory_mb: float = sent(a_number, 0)
    metrics: dict[str, float] = sent(table_of(any_number), factory=dict)


@dataclass(frozen=True)
class Preview(Body):
    """A file of the job folder shows what there is so far: a part's ``texture``, a ``view``, or a ``mesh``.

    Pictures are raw sRGB RGBA, the bottom row first, and tell their ``width`` and ``height`` in pixels. ``pixels`` is
    not sent: whoever received the message read the file.
    """

    type: ClassVar[str] = "preview"
    path: str = sent(a_place)
    kind: str = sent(one_of(*PICTURES, MESH))
    part: int = sent(whole(0, 100_000), 0)
    step: int = sent(whole(), 0)
    width: int = sent(whole(1, PICTURE_SIDE), 0, sparse=True)
    height: int = sent(whole(1, PICTURE_SIDE), 0, sparse=True)
    pixels: bytes | None = None

    def __post_init__(self) -> None:
        if self.kind in PICTURES and not (self.width and self.height):
            raise WrongField("the width or height of a picture")


@dataclass(frozen=True)
class CheckpointStored(Body):
    """The job can be resumed after ``step`` steps from the record ``path`` of its folder."""

    type: ClassVar[str] = "checkpoint"
    path: str = sent(a_text, "")
    step: int = sent(whole(), 0)


@dataclass(frozen=True)
class Warned(Body):
    """One sentence that the artist should see; the job goes on."""

    type: ClassVar[str] = "warning"
    text: str = sent(a_text)
    code: str = sent(a_text, "")


@dataclass(frozen=True)
class Finished(Body):
    """The job came to its end. ``files``: by role, paths within the job folder."""

    type: ClassVar[str] = "result"
    must_arrive: ClassVar[bool] = True
    files: dict[str, str] = sent(table_of(a_text), factory=dict)
    stats: dict[str, Any] = sent(table_of(anything), factory=dict)


@dataclass(frozen=True)
class Cancelled(Body):
    """The job ended early because somebody wished it; ``kept`` says whether there is a result so far."""

    type: ClassVar[str] = "cancelled"
    must_arrive: ClassVar[bool] = True
    kept: bool = sent(a_switch, False)
    files: dict[str, str] = sent(table_of(a_text), factory=dict)


@dataclass(frozen=True)
class Failed(Body):
    """The job ended early because it could not go on: what is wrong, what to do, whether trying again helps.

    ``kept``: what it had before is there all the same, as after a cancel.
    """

    type: ClassVar[str] = "error"
    must_arrive: ClassVar[bool] = True
    code: str = sent(a_text, "")
    text: str = sent(a_text, "The backend failed.")
    fix: str = sent(a_text, "")
    retryable: bool = sent(a_switch, False)
    detail: str = sent(a_text, "")
    kept: bool = sent(a_switch, False, sparse=True)
    files: dict[str, str] = sent(table_of(a_text), factory=dict, sparse=True)

    @classmethod
    def of(cls, error: JobError, files: dict[str, str] | None = None) -> Failed:
        """The message about ``error``; with ``files``, the job kept what it had."""
        kept = files is not None
        return cls(error.code, error.text, error.fix, error.retryable, error.detail, kept, files or {})


TO_BACKEND = (Greeting, Submit, Cancel, Shutdown)
FROM_BACKEND = (
    *(Hello, Heartbeat, Bye, Accepted, StageBegun, Progress, Preview, CheckpointStored, Warned),
    *(Finished, Cancelled, Failed),
)


def read(message: Message, kinds: Sequence[type[Body]] = FROM_BACKEND) -> Body | None:
    """What a message says, or None, with a word in the log, when that is not as the contract has it. Never raises."""
    cls = next((kind for kind in kinds if kind.type == message.type), None)
    if cls is None:
        log.warning("a message of the unknown type %s was passed over", quoted(message.type))
        return None
    try:
        said = cls.from_json(message.body, lenient=cls.must_arrive)
        pixels = message.body.get("pixels")
        return Preview(**{**vars(said), "pixels": pixels}) if cls is Preview and isinstance(pixels, bytes) else said
    except WrongField as error:
        log.warning("a %s message was passed over: %s", message.type, error)
        return None


def typed(message: Message) -> Message | None:
    """The message with every field of its type as :func:`read` has it, and those that nobody knows as they were."""
    said = read(message)
    if said is None:
        return None
    known = {entry.name for entry in wire_fields(type(said))}
    others = {name: value for name, value in message.body.items() if name not in known}
    return Message(message.type, message.job, message.seq, {**others, **said.to_json()})
