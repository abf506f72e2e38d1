"""Tryggport on the host: flash, provision, receive and test gateways."""

__version__ = "0.1.0"
