"""Lists of a public dataset: `mmaction prepare DATASET`, as a script of the checkout."""

from mmaction.cli.prepare_dataset import main
from mmaction.utils.cli import end_after

if __name__ == '__main__':
    end_after(main)
