"""The confirmatory study: a plan fixed before its runs, their computation,
and the outcome of every claim.

python -m nasutils.studies.confirmation run | status | results
"""
