"""`python -m gptsmith`."""

from gptsmith.cli import main

main()
