"""Captures of TCP connections, written byte by byte. Knows nothing of what the bytes mean."""

import struct

CLIENT_IP, SERVER_IP = b"\x7f\x00\x00\x01", b"\x7f\x00\x00\x02"
FIN, SYN, PSH, ACK = 0x01, 0x02, 0x08, 0x10
# pcap with microseconds, little-endian; Ethernet.
FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0x40000, 1)
TO_SERVER, TO_CLIENT = True, False


class Capture:
    """A capture with any number of connections. A packet comes a millisecond after the one before."""

    def __init__(self, snap_len=0x40000):
        self.packets = [FILE_HEADER]
        self.snap_len = snap_len
        self.connections = 0

    def connect(self, server_port, client_port=None, with_handshake=True):
        """A connection with its SYNs, or one that the capture joins while it is open."""
        self.connections += 1
        return Connection(self, client_port or 20000 + self.connections, server_port, with_handshake)

    def add(self, source, destination, seq, ack, flags, payload):
        (source_ip, source_port), (destination_ip, destination_port) = source, destination
        tcp = struct.pack(
            ">HHIIBBHHH", source_port, destination_port, seq, ack, 0x50, flags, 0xFFFF, 0, 0
        )
        ip_len = 20 + len(tcp) + len(payload)
        ip = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, ip_len, 0, 0, 64, 6, 0, source_ip, destination_ip
        )
        packet = bytes(12) + b"\x08\x00" + ip + tcp + payload
        millis = len(self.packets)
        kept = packet[: self.snap_len]
        self.packets.append(
            struct.pack("<IIII", millis // 1000, millis % 1000 * 1000, len(kept), len(packet)) + kept
        )

    def write(self, path):
        with open(path, "wb") as file:
            file.write(b"".join(self.packets))


class Connection:
    """One connection of a capture. Its number is what Wireshark calls `tcp.stream`."""

    def __init__(self, capture, client_port, server_port, with_handshake):
        self.capture, self.number = capture, capture.connections - 1
        self.ends = {TO_SERVER: (CLIENT_IP, client_port), TO_CLIENT: (SERVER_IP, server_port)}
        self.seq = {TO_SERVER: 1000, TO_CLIENT: 500_000}
        if with_handshake:
            self.packet(TO_SERVER, SYN)
            self.packet(TO_CLIENT, SYN | ACK)
            self.packet(TO_SERVER, ACK)

    def packet(self, direction, flags, payload=b"", seq=None):
        source, destination = self.ends[direction], self.ends[not direction]
        seq = self.seq[direction] if seq is None else seq
        ack = self.seq[not direction] if flags & ACK else 0
        self.capture.add(source, destination, seq, ack, flags, payload)
        self.seq[direction] = max(self.seq[direction], seq + len(payload) + bool(flags & (SYN | FIN)))

    def send(self, *segments):
        """Segments from the client, in a packet each."""
        self.segments(TO_SERVER, segments)

    def reply(self, *segments):
        """Segments from the server."""
        self.segments(TO_CLIENT, segments)

    def segments(self, direction, segments):
        for segment in segments:
            self.packet(direction, PSH | ACK, segment)

    def resend(self, direction, payload):
        """The last bytes of a direction again."""
        self.packet(direction, PSH | ACK, payload, self.seq[direction] - len(payload))

    def close(self):
        self.packet(TO_SERVER, FIN | ACK)
        self.packet(TO_CLIENT, FIN | ACK)
        self.packet(TO_SERVER, ACK)
