"""``python -m esxcore``: the same as the ``esxcore`` command."""

from esxcore.cli import main

if __name__ == "__main__":
    main(prog_name="esxcore")
