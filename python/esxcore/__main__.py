"""Where ``esxcore`` and ``python -m esxcore`` begin: ready for Ctrl-C before anything is imported.

Importing click takes long enough for somebody to press Ctrl-C. What comes of it is what comes of it
later, in `esxcore.cli`: one line and exit code 130.
"""

import sys


def main() -> None:
    """Runs the command line and exits."""
    try:
        from esxcore.cli import main as command

        command(prog_name="esxcore")
    except KeyboardInterrupt:
        sys.stderr.write("esxcore: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
