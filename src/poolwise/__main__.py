"""``python -m poolwise``, which torchrun needs: ``torchrun --nproc-per-node 2 -m poolwise train ...``."""

from poolwise.cli.main import main

if __name__ == "__main__":
    main()
