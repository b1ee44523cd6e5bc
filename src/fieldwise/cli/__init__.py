"""The command line: parse → capture → analyse → view.

Exit codes: 0, 1 (the analysis says no: ``field --unit`` knows an upper bound only, ``fold`` came
out wrong, ``shift --repair`` did not succeed), 2 (usage), 130 (interrupted).
"""

from fieldwise.cli.app import app as app
from fieldwise.cli.app import main as main
