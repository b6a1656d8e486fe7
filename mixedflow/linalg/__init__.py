"""Plain matrices in, plain matrices out; has never heard of a random effect."""
