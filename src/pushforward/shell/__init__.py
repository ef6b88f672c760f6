"""The command line and what it prints; nothing here computes."""
