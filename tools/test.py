"""Test a checkpoint: `mmaction test`, as a script of the checkout."""

from mmaction.cli.test import main

if __name__ == '__main__':
    main()
