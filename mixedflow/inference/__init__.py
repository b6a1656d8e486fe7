"""What a finished fit says: standard errors, conditional variances, predictions."""
