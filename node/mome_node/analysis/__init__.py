"""From files to findings: grouping, volumes, quality, inference, explanation, advice. Knows no Structured Report."""
