"""Tryggport gateway: from a sensor's edge to a receipted alarm."""

VERSION = "0.1.0"
BUILT_MS = 1795219200000  # release date 2026-11-21, the lowest time this firmware believes
