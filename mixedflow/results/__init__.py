"""What a fit is, in memory and on disk; versioned; verified on reading."""
