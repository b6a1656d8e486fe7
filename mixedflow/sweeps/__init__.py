"""Many responses, many models or many covariates over one set of rows."""
