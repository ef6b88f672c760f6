"""`python -m pushforward` is the command line."""

from .shell.cli import main

main()
