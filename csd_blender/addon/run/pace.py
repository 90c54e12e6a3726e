"""How often a job may have the window drawn anew: seldom where drawing is slow.

On a graphics card a redraw takes a few milliseconds and nobody notices. On a software display it takes a tenth of a
second and more, and what follows a picture in a 3D view (anti-aliasing, samples) several times that. So what each
redraw cost is measured, by how late the next turns of a timer come, and a pause follows in proportion.
"""

from __future__ import annotations

LATE = 0.02  # seconds; a turn of the timer that is later than this was held up
REST = 7.0  # pause after a redraw, in units of what it took: seven eighths of the time belong to the artist
LONGEST = 20.0  # seconds of such a pause


class Pace:
    """Told of every turn of a timer and of every redraw that was asked for; says when the next one may be."""

    def __init__(self) -> None:
        self.waiting = False  # whether what was asked for last is still being drawn
        self.cost = 0.0  # seconds that it has held up the window so far
        self._free_at = 0.0

    def asked(self) -> None:
        """A redraw was asked for; it will happen after this turn of the timer."""
        self.waiting, self.cost = True, 0.0

    def turned(self, now: float, due: float) -> None:
        """The timer turned at ``now``, and should have at ``due`` (seconds on one clock)."""
        if not self.waiting:
            return
        late = now - due
        if late > LATE:
            self.cost += late
        else:
            self.waiting = False
            self._free_at = now + min(LONGEST, REST * self.cost)

    def is_free(self, now: float) -> bool:
        """Whether the next redraw may be asked for."""
        return not self.waiting and now >= self._free_at
