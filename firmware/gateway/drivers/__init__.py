"""Drivers: one class a device; pins and buses come in."""
