"""Many runs: launch (from their folders, else computed), pool (processes), cluster (Ray), live,
planning (costs).
"""
