"""Re-encode videos: the first half of `mmaction prepare FOLDER`."""

from mmaction.cli.prepare_videos import main

if __name__ == '__main__':
    main()
