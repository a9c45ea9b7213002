"""Re-encode videos: the first half of `mmaction prepare FOLDER`."""

from mmaction.cli.prepare_videos import main
from mmaction.utils.cli import end_after

if __name__ == '__main__':
    end_after(main)
