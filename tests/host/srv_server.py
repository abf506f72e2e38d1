"""A DNS server on loopback that knows SRV records."""

import contextlib
import socket
import threading

import dns.asyncresolver
import dns.message
import dns.rrset


@contextlib.contextmanager
def name_server(records):
    """A DNS server on loopback; `records`: the SRV texts by name, None for a server failure."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                data, peer = sock.recvfrom(2048)
                asked = dns.message.from_wire(data)
                name = asked.question[0].name.to_text(omit_final_dot=True)
                answer = dns.message.make_response(asked)
                found = records.get(name, ())
                if found is None:
                    answer.set_rcode(2)
                elif not found:
                    answer.set_rcode(3)
                else:
                    answer.answer.append(dns.rrset.from_text(asked.question[0].name, 60, "IN", "SRV", *found))
                sock.sendto(answer.to_wire(), peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        sock.close()


def resolver_at(port):
    """A resolver that asks this server only."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], port
    return resolver
