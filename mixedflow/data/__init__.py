"""Sources of rows: files and frames become partitions with declared types."""
