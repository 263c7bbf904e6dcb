"""The command `mome`, one module for each group of commands."""
