"""``python -m s2tx`` is ``s2tx``."""

from s2tx.cli import main

if __name__ == "__main__":
    main()
