"""An HTML page of a test: `mmaction report`, as a script of the checkout."""

from mmaction.cli.report import main

if __name__ == '__main__':
    main()
