"""`python -m mmaction` is the command `mmaction`."""

import sys

from mmaction.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
