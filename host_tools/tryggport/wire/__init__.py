"""The wire: envelopes, events, receipts and status as protocols/ says. Imports nothing else of ours but the error type."""
