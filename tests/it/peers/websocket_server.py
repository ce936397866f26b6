"""A WebSocket server that echoes. Prints its port, then a line for every connection that is over."""

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


def echo(connection):
    if connection.request.path == "/whoami":
        connection.send("\n".join(f"{name}: {value}" for name, value in connection.request.headers.raw_items()))
    try:
        for message in connection:
            connection.send(message)
    except ConnectionClosed:
        pass
    finally:
        print("over", connection.request.path, connection.close_code, flush=True)


with serve(
    echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat.v2"], ping_interval=None, compression="deflate"
) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
