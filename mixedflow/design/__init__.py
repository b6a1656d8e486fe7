"""Formula and schema become X, Z and y for any piece of the data, always the same columns."""
