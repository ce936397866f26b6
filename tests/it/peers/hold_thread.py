"""Holds one thread of another process, as if it hung, until a line comes on standard input. Linux, same user or root."""
import ctypes
import os
import select
import sys

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WNOHANG, WALL = os.WNOHANG, 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(f"ptrace {request:#x}: errno {ctypes.get_errno()}")


thread = int(sys.argv[1])
ptrace(PTRACE_SEIZE, thread)
ptrace(PTRACE_INTERRUPT, thread)
if libc.waitpid(thread, None, WALL) != thread:
    sys.exit(f"waitpid: errno {ctypes.get_errno()}")
print("held", flush=True)
# The end of a thread that is held has to be taken note of, or its process stays.
while not select.select([sys.stdin], [], [], 0.05)[0]:
    if libc.waitpid(thread, None, WALL | WNOHANG) == thread:
        sys.exit(0)
ptrace(PTRACE_DETACH, thread)
print("released", flush=True)
