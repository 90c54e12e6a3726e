"""Run a command that must not outlive the process that wants it: ``python -I supervise.py COMMAND ...``.

The owner keeps the other end of this script's stdin. When that closes, because the owner lets go or was killed, the
command is killed with its children. Works alike on every system, and needs nothing of the package.
"""

import os
import signal
import subprocess
import sys
import threading
from typing import Any


def main(command: list) -> int:
    windows = os.name == "nt"
    flags: dict[str, Any] = {"creationflags": subprocess.CREATE_NO_WINDOW} if windows else {"start_new_session": True}
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **flags)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error}\n")
        return 127

    def end_with_owner() -> None:
        sys.stdin.buffer.read()
        if windows:
            subprocess.call(
                ["taskkill", "/F", "/T", "/PID", str(child.pid)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **flags,
            )
        else:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    threading.Thread(target=end_with_owner, daemon=True).start()
    status = child.wait()
    sys.stderr.flush()
    # The thread still reads stdin, so the interpreter could not end in the ordinary way.
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main(sys.argv[1:])
