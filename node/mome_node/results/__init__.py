"""From findings to DICOM objects: Structured Report and secondary capture. Knows no torch and no model."""
