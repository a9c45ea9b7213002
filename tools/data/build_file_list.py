"""Write the lists of a dataset: the second half of `mmaction prepare FOLDER`."""

from mmaction.cli.build_file_list import main
from mmaction.utils.cli import end_after

if __name__ == '__main__':
    end_after(main)
