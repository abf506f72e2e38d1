"""Freezes the gateway into a MicroPython build (MicroPython documentation, "Manifest files")."""

package("gateway", base_path=".")
module("main.py", base_path=".")
