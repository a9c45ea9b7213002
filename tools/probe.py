"""Probe a frozen backbone: `mmaction probe`, as a script of the checkout."""

from mmaction.cli.probe import main
from mmaction.utils.cli import end_after

if __name__ == '__main__':
    end_after(main)
