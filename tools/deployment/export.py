"""Export a recognizer: `mmaction export`, as a script of the checkout."""

from mmaction.cli.export import main

if __name__ == '__main__':
    main()
