"""A gRPC server without generated code: messages are bytes. Prints its plain port and, given a certificate and a key,
its TLS port; then a line for every call that was cancelled."""

import sys
import time
from concurrent import futures

import grpc


def echo(request, context):
    received = dict(context.invocation_metadata())
    context.set_trailing_metadata((("saw-key", received.get("key", "")), ("blob-bin", b"\x00\x01\xff")))
    return request


def fail(request, context):
    context.set_trailing_metadata((("why", "because"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing here: 100%")


def slow(request, context):
    context.add_callback(lambda: print("over", context.is_active(), flush=True))
    while context.is_active():
        time.sleep(0.02)
    return request


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def much(request, context):
    for _ in range(int(request)):
        yield b"m" * 60_000


def chat(requests, context):
    for request in requests:
        yield request


def quiet(request, context):
    yield b"first"
    time.sleep(float(request))
    yield b"last"


def total(requests, context):
    return str(sum(len(request) for request in requests)).encode()


handlers = grpc.method_handlers_generic_handler(
    "test.Peer",
    {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Quiet": grpc.unary_stream_rpc_method_handler(quiet),
        "Much": grpc.unary_stream_rpc_method_handler(much),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    },
)
server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers((handlers,))
ports = [server.add_insecure_port("127.0.0.1:0")]
if len(sys.argv) > 2:
    chain, key = (open(path, "rb").read() for path in sys.argv[1:3])
    ports.append(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)])))
server.start()
print(*ports, flush=True)
server.wait_for_termination()
