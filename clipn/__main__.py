"""`python -m clipn`, which torchrun needs: it starts modules, not commands."""

from clipn.cli.main import main

main()
