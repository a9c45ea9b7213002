"""Store the features of a list of clips: `mmaction features`, as a script of the checkout."""

from mmaction.cli.features import main
from mmaction.utils.cli import end_after

if __name__ == '__main__':
    end_after(main)
