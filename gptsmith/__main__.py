"""`python -m gptsmith`."""

from gptsmith.cli import main

if __name__ == "__main__":
    main()
