"""Alembic migrations of the reception's database."""
