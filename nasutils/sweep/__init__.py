"""Many runs: launch (finished ones come from their folders), pool (processes), cluster (Ray), planning (costs)."""
