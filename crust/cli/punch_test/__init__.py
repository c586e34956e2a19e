"""
``punch-test``, also ``crust punch-test``: what the network around this machine allows, in plain words.

::

    command    the arguments of its actions            program    ``punch-test`` as a command of its own
    report     the survey, its progress, once or again and again; exit codes
    words      every finding in plain words: rows for all renderers, and the path to the Internet
    text       the report for a terminal               page       the same as one HTML file
    picture    the path as an SVG                      document   the same for programs, as JSON
    changes    what is different from the report before
    file       the page, written whole or not at all
    pair       ``listen`` and ``connect``: the test between two machines
"""
