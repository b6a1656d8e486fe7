"""Rows condense to sums here; after this room nobody sees a row again."""
