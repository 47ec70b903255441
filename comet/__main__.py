"""``python -m comet``: see ``cli``."""

from .cli import main


main(prog_name="python -m comet")
