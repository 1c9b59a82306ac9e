"""A TAP device in the network namespace that this runs in, with the frames on standard input and output.

Each is a length (32 bits, little-endian), a virtio_net_hdr of 10 bytes and the frame. Ends with its input.
"""

import fcntl
import os
import select
import struct
import sys

TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 1, 2, 4

tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
if "--offloads" in sys.argv:
    fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
sys.stderr.write("ready\n")
sys.stderr.flush()

pending = b""


def write_all(data):
    while data:
        data = data[os.write(1, data) :]


while True:
    readable, _, _ = select.select([0, tap], [], [])
    if tap in readable:
        frame = os.read(tap, 70000)
        write_all(struct.pack("<I", len(frame)) + frame)
    if 0 in readable:
        data = os.read(0, 1 << 20)
        if not data:
            break
        pending += data
        offset = 0
        while len(pending) - offset >= 4:
            (length,) = struct.unpack_from("<I", pending, offset)
            if len(pending) - offset - 4 < length:
                break
            try:
                os.write(tap, pending[offset + 4 : offset + 4 + length])
            except OSError as error:
                sys.stderr.write(f"refused: {error}\n")
            offset += 4 + length
        pending = pending[offset:]
