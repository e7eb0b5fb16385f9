"""What the operator tests share: comparison with tolerances, ground truth, and the table of cases.

`compare` compares and is tested itself, `truth` holds every formula in float64, `cases` the table
of calls that most tests are parametrised with, `check` runs one of them against the truth.
"""
