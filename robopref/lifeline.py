"""The child's side of `robopref.child`: `python -m robopref.lifeline FD MODULE ARGUMENT …` runs MODULE, on a lifeline.

FD is the reading end of a pipe that the parent holds open. When the parent dies, however it dies, the pipe closes and
the child ends with it; when the parent wants it to stay, it writes a byte first. (A parent-death signal would not do:
it fires when the *thread* that started the child ends, and cannot be taken back.)
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent(fd: int) -> None:
    if os.read(fd, 1) == b"":
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    _, fd, module, *arguments = sys.argv
    threading.Thread(target=_end_with_parent, args=(int(fd),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
