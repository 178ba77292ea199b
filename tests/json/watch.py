"""Prints each frame that a gateway sends about a site, one JSON text a line, until it is killed.

It knows docs/client-protocol.md and nothing else of Lockgate, and so stands for any tool that speaks WebSocket.

    LOCKGATE_TOKEN=... watch.py ws://127.0.0.1:8080 plant-1 '{"last": 5}'
"""

import json
import os
import sys

from websockets.sync.client import connect

SUBPROTOCOL = "lockgate.client.v1+json"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024


def main(url, site, start):
    with connect(
        f"{url}/v1/client", subprotocols=[SUBPROTOCOL], max_size=MESSAGE_BYTES_MAX, proxy=None
    ) as gateway:
        if gateway.subprotocol != SUBPROTOCOL:
            sys.exit(f"the gateway speaks {gateway.subprotocol}")

        def ask(number, request, body):
            gateway.send(json.dumps({"id": number, request: body}))

        ask(1, "connect", {"token": os.environ["LOCKGATE_TOKEN"], "client": "watch.py"})
        ask(2, "subscribe", {"site": site, **json.loads(start)})
        for frame in gateway:
            if not isinstance(frame, str):
                sys.exit("a binary message came on a connection of text")
            print(frame, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
