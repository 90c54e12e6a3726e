"""``python -m csd_blender.backend serve | texture | doctor | text-to-3d | models``."""

import sys

from ..job.process.processes import leave_when_interrupted, open_streams

if __name__ == "__main__":
    leave_when_interrupted()
    open_streams()

from .cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
