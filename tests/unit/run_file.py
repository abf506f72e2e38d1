"""Runs the test functions of one file in this MicroPython; prints one JSON line a test. Started by tests/conftest.py."""

import io
import json
import sys
import time


def main(name, wanted):
    module = __import__(name)
    for test in wanted:
        start = time.ticks_ms()
        error = None
        try:
            getattr(module, test)()
        except BaseException as e:  # a test that ends the process must still be reported
            trace = io.StringIO()
            sys.print_exception(e, trace)
            error = trace.getvalue()
        took = time.ticks_diff(time.ticks_ms(), start)
        print("\x1e" + json.dumps({"test": test, "error": error, "ms": took}))


main(sys.argv[1], sys.argv[2:])
