"""Starts the gateway. Collecting often keeps the heap in one piece while modules load: TLS and MQTT need buffers of some KB."""

import gc

gc.threshold(4096)

from gateway import app  # noqa: E402

app.main()
