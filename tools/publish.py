"""Publish a run: `mmaction publish`, as a script of the checkout."""

from mmaction.cli.publish import main
from mmaction.utils.cli import end_after

if __name__ == '__main__':
    end_after(main)
