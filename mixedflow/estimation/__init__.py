"""Likelihood, score, EM and AI steps, one driver loop, one trace row an iteration."""
