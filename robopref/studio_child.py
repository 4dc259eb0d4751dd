"""Label Studio's own process: `python -m robopref.studio_child FD start --data-dir … --port …`.

FD is the reading end of a pipe that the parent holds open. When the parent dies, however it dies, the pipe closes and
the server ends with it; when the parent wants the server to stay, it writes a byte first. (A parent-death signal
would not do: it fires when the *thread* that started the child ends, and cannot be taken back.)
"""

import os
import signal
import sys
import threading


def _end_with_parent(fd: int) -> None:
    if os.read(fd, 1) == b"":
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    threading.Thread(target=_end_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = ["label-studio", *sys.argv[2:]]
    from label_studio.server import main as label_studio  # pyright: ignore[reportMissingImports]

    label_studio()


if __name__ == "__main__":
    main()
