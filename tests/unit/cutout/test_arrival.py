"""A request has arrived at the end of its header: a first byte that is sent ahead reserves nothing."""

from waitress.adjustments import Adjustments

from cutout.local.pixelcut.arrival import TimedParser


def test_a_request_has_arrived_once_its_header_is_there() -> None:
    parser = TimedParser(Adjustments(listen=""))  # nowhere: an address would be looked up
    parser.received(b"P")
    assert parser.arrived is None
    parser.received(b"OST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n")
    arrived = parser.arrived
    assert arrived is not None
    parser.received(b"body")
    assert (parser.completed, parser.arrived) == (True, arrived)
