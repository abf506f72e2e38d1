# Runs in MicroPython: a client that lets a scripted broker play a number of sequences, one a connection.
# Arguments: port, number of connections. Prints one JSON line: heap in use half-way and at the end.
import asyncio
import gc
import json
import sys

from gateway.mqtt import Client, tcp_opener


async def main(port, connections):
    ended = asyncio.Event()
    heap = []
    count = 0

    def disconnected(reason):
        nonlocal count
        count += 1
        if count in (connections // 2, connections):
            gc.collect()
            heap.append(gc.mem_alloc())
        if count == connections:
            ended.set()

    client = Client(
        "driver",
        tcp_opener([("127.0.0.1", port)]),
        on_disconnect=disconnected,
        on_connect=lambda present: client.publish("up", b"x"),
        on_message=lambda topic, payload, properties: None,
        receive_maximum=4,
        max_packet=1024,
        resend=False,
        backoff_ms=(1, 1),
    )
    client.subscribe("down/#")
    task = asyncio.create_task(client.run())
    await ended.wait()
    await client.close()
    await task
    print("\x1e" + json.dumps({"heap": heap, "connections": count}))


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
