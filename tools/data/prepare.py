"""Lists of a public dataset: `mmaction prepare DATASET`, as a script of the checkout."""

from mmaction.cli.prepare_dataset import main

if __name__ == '__main__':
    main()
