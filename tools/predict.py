"""Classify videos: `mmaction predict`, as a script of the checkout."""

import sys

from mmaction.cli.predict import main

if __name__ == '__main__':
    sys.exit(main())
