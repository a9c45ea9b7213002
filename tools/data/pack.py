"""Pack videos into tar files: `mmaction pack`, as a script of the checkout."""

from mmaction.cli.pack import main

if __name__ == '__main__':
    main()
