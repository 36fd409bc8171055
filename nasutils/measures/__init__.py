"""What the records of searches say: leakage, curvature, when to stop, a diagnosis;
tables, estimates, tests, ranks.
"""
