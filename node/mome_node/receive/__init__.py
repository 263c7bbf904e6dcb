"""From the network to the disk: C-STORE in, files and ledger rows out. Knows no torch, no job engine."""
