"""``python -m nwidth``: the command line, where the script is not on the path."""

import sys

from nwidth.cli import main

if __name__ == "__main__":
    sys.exit(main())
