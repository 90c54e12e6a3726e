"""The methods of score distillation that a job can name."""

from __future__ import annotations

METHODS = ("csd", "sds")
