"""What each notebook compares and claims: variants and claims, written down before any run."""
