"""Tables and figures become a page; computes nothing."""
