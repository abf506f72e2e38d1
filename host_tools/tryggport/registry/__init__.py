"""What a municipality asks of its gateways while they are at work: commands, changed configurations, trust lists."""
