"""Where ``esxcore`` and ``python -m esxcore`` begin: ready for Ctrl-C before anything is imported.

Importing click takes long enough for somebody to press Ctrl-C. What comes of it is what comes of it
later, in `esxcore.cli`: one line and exit code 130.
"""

import signal
import sys

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main() -> None:
    """Runs the command line and exits."""
    try:
        from esxcore.cli import main as command

        command(prog_name="esxcore")
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # pressed again it must not tear up what is left to do
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write("esxcore: interrupted\n")
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
