"""Henderson's equations from sums and variance parameters, and their solution."""
