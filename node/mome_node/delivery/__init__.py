"""Result objects to the PACS: C-STORE, one destination at a time."""
