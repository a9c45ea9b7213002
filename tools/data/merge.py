"""Bring shares together: `mmaction merge`, as a script of the checkout."""

from mmaction.cli.merge import main
from mmaction.utils.cli import end_after

if __name__ == '__main__':
    end_after(main)
