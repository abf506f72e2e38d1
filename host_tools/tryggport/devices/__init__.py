"""Boards on the technician's table: what they are, what is written to them, and how they are provisioned."""
