"""Nothing: everything starts in main.py, so that a REPL is reached even when the application cannot start."""
