"""What stands in for the world in tests and in the demo: brokers and gateways on this machine."""
