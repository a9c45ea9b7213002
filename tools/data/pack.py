"""Pack videos into tar files: `mmaction pack`, as a script of the checkout."""

from mmaction.cli.pack import main
from mmaction.utils.cli import end_after

if __name__ == '__main__':
    end_after(main)
