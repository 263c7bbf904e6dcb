"""A DICOM node for breast MRI: studies in from a PACS, reports and overlays back to it. Start in pipeline.py."""

__version__ = "0.1.0"
