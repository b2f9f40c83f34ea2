"""One attempt at one job, inside its Pod: drives Claude Code and prints its messages as lines."""
