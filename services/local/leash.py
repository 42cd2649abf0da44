"""Becomes another program that dies with the process which started it, even when that one is killed.

Run by path (`python -I -S leash.py PARENT_PID PROGRAM ARGUMENT…`), so it imports nothing of ours. One rule: between
`prctl` and the check of the parent nothing may happen, or a parent that died in between leaves an orphan.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's death, then become the program."""
    parent_pid, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606  becoming the program is the purpose


if __name__ == "__main__":
    main()
