"""Train a recognizer: `mmaction train`, as a script of the checkout."""

from mmaction.cli.train import main

if __name__ == '__main__':
    main()
