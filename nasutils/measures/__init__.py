"""What the records of searches say: measures of one search, and estimates with tests from many."""
