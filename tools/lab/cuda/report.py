"""A Markdown report that is written section by section, and the clock of the measurements in it."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers get three significant digits, None becomes a dash."""
    lines = ["| " + " | ".join(titles) + " |", "| " + " | ".join("---" for _ in titles) + " |"]
    lines += ["| " + " | ".join(shown(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def shown(value: object) -> str:
    """A table's cell."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(share: float) -> str:
    return f"{share:.1%}"


@dataclass
class LabReport:
    """``path`` holds every section that is finished, also when the run is cut off.

    Attributes:
        path: the file, begun anew.
        end: ``time.monotonic()`` after which no further section is begun.
        failed: titles of the sections that raised.
    """

    path: Path
    end: float
    failed: list[str] = field(default_factory=list)

    def begin(self, text: str) -> None:
        """The head of the page; whatever stood there before is gone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(text.rstrip() + "\n", "utf-8")
        print(text, flush=True)

    def add(self, text: str) -> None:
        """Text that is in the file when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + text.rstrip() + "\n")
        print(f"\n{text}", flush=True)

    def section(self, title: str, work: Callable[[], str]) -> None:
        """Add what ``work`` returns; when it raises, add that it did, and go on."""
        if time.monotonic() > self.end:
            self.failed.append(title)
            self.add(f"## {title}\n\nNot measured: the time was up.")
            return
        start = time.monotonic()
        try:
            text = work()
        except Exception as error:
            self.failed.append(title)
            traceback.print_exc()
            first = (str(error).splitlines() or [""])[0][:300]
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"**Failed**: {type(error).__name__} {first} ({Path(where.filename).name}, line {where.lineno})."
        self.add(f"## {title}\n\n{text}\n\n({time.monotonic() - start:.0f} s)")
        free_memory()


def free_memory() -> None:
    """Give back what a section held on the card, so that the next one measures its own."""
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_ms(work: Callable[[], object], device: torch.device, warm: int = 3, repeats: int = 10) -> float:
    """Median milliseconds of ``work`` from an idle card to an idle card, after ``warm`` runs that do not count."""
    times = []
    for i in range(warm + repeats):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        if i >= warm:
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def peak_gib(work: Callable[[], object], device: torch.device) -> float | None:
    """The most of the card's memory that is taken while ``work`` runs, what is there already included; GiB."""
    if device.type != "cuda":
        work()
        return None
    free_memory()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 2**30
