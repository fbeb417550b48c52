"""`python -m kbench` is `kbench`."""

from kbench.cli.main import main

if __name__ == "__main__":
    main()
