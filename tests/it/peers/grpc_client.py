"""A gRPC client: HOST PORT WHAT [CA FILE]. WHAT is `all`, `quiet` and the seconds that streams are silent, or the name of
the status code that every call has to end with. Ends with 0 if everything is as it should be."""

import queue
import sys

import grpc

host, port, what = sys.argv[1:4]
options = [("grpc.default_authority", host), ("grpc.max_receive_message_length", -1)]
if len(sys.argv) > 4:
    options.append(("grpc.ssl_target_name_override", host))
    credentials = grpc.ssl_channel_credentials(open(sys.argv[4], "rb").read())
    channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)
else:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)


def unary(name, timeout=20):
    return lambda request, **more: channel.unary_unary(f"/test.Peer/{name}").with_call(request, timeout=timeout, **more)


def failure(call, *arguments):
    try:
        call(*arguments)
    except grpc.RpcError as error:
        return error
    raise AssertionError("it did not fail")


if what.startswith("quiet "):
    # A stream from the server, and one both ways that has just begun.
    said = queue.Queue()
    chat = channel.stream_stream("/test.Peer/Chat")(iter(said.get, None), timeout=60)
    said.put(b"one")
    assert next(chat) == b"one"
    stream = channel.unary_stream("/test.Peer/Quiet")(what.split(" ")[1].encode(), timeout=60)
    assert list(stream) == [b"first", b"last"]
    said.put(b"two")
    assert next(chat) == b"two"
    said.put(None)
    assert list(chat) == []
    print("ok")
    sys.exit()

if what != "all":
    error = failure(unary("Echo"), b"x")
    assert error.code().name == what, (error.code(), error.details())
    print(error.details())
    sys.exit()

answer, call = unary("Echo")(b"hello", metadata=(("key", "value"),))
assert answer == b"hello" and call.code() == grpc.StatusCode.OK
trailers = dict(call.trailing_metadata())
assert trailers == {"saw-key": "value", "blob-bin": b"\x00\x01\xff"}, trailers
large = b"L" * 3_000_000
assert unary("Echo")(large)[0] == large, "a large message"
assert unary("Echo")(b"")[0] == b"", "an empty message"

error = failure(unary("Fail"), b"x")
assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "nothing here: 100%"), error
assert dict(error.trailing_metadata())["why"] == "because", error.trailing_metadata()
error = failure(unary("Unknown"), b"x")
assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

numbers = list(channel.unary_stream("/test.Peer/Count")(b"2000", timeout=20))
assert numbers == [str(number).encode() for number in range(2000)]
sent = channel.stream_unary("/test.Peer/Total")((b"x" * 1000 for _ in range(1000)), timeout=20)
assert sent == b"1000000", sent

# A conversation: each side waits for the other, so nothing may be held back.
said = queue.Queue()
answers = channel.stream_stream("/test.Peer/Chat")(iter(said.get, None), timeout=20)
for number in range(50):
    said.put(str(number).encode())
    assert next(answers) == str(number).encode()
said.put(None)
assert list(answers) == []

error = failure(unary("Slow", timeout=0.5), b"x")
assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error

# Many at once on one connection.
calls = [channel.unary_unary("/test.Peer/Echo").future(str(number).encode(), timeout=20) for number in range(300)]
assert [call.result() for call in calls] == [str(number).encode() for number in range(300)]
print("ok")
