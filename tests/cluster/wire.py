#!/usr/bin/env python3
"""A wire in user space: frames of one device go to the other and back, late, and some are lost. For
kernels without netem.

usage: wire.py ONE OTHER DELAY_MS LOSS_PERCENT     until it is killed; says "ready" first
       wire.py --whole-frames DEVICE               sums are made, and segments cut, before a frame
                                                   leaves the device: what it takes to be read here
"""
import array
import fcntl
import heapq
import random
import select
import socket
import struct
import sys
import time

ETH_P_ALL = 3
SIOCETHTOOL, STXCSUM, STSO, SGSO = 0x8946, 0x17, 0x1f, 0x24  # linux/sockios.h, linux/ethtool.h
SO_RCVBUFFORCE = 33


def whole_frames(device):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for what in (STXCSUM, STSO, SGSO):
            value = array.array("I", [what, 0])
            request = struct.pack("16sP16x", device.encode(), value.buffer_info()[0])
            fcntl.ioctl(s, SIOCETHTOOL, request)


def opened(device):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    try:
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    except OSError:
        pass  # not in a user namespace: then it is a smaller one
    s.bind((device, ETH_P_ALL))
    s.setblocking(False)
    return s


def taken(s):
    """The frames that came to this end."""
    for _ in range(256):
        try:
            data, address = s.recvfrom(1 << 16)
        except OSError:
            return  # none now; or the cable was cut
        if address[2] != socket.PACKET_OUTGOING:
            yield data


def main():
    if sys.argv[1] == "--whole-frames":
        return whole_frames(sys.argv[2])
    one, other = opened(sys.argv[1]), opened(sys.argv[2])
    delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
    late, number = [], 0
    print("ready", flush=True)
    while True:
        wait = max(0, late[0][0] - time.monotonic()) if late else None
        ready, _, _ = select.select([one, other], [], [], wait)
        now = time.monotonic()
        for s in ready:
            for data in taken(s):
                number += 1
                if random.random() >= loss:
                    heapq.heappush(late, (now + delay, number, data, other if s is one else one))
        while late and late[0][0] <= now:
            _, _, data, to = heapq.heappop(late)
            try:
                to.send(data)
            except OSError:
                pass  # a cut cable, a full queue: lost
    return None


if __name__ == "__main__":
    sys.exit(main())
