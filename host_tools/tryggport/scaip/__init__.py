"""SCAIP: alarms as XML over SIP MESSAGE, as seen in open implementations. Usable alone.

message   the XML (mrq, mrs): strict out, tolerant in
codes     what an event is in SCAIP, and what the codes say to a person
sip       SIP messages (RFC 3261): parse, build, answer      digest   RFC 8760, RFC 2617      locate   RFC 3263, RFC 2782
agent     sends and receives MESSAGE (RFC 3428) over UDP, TCP and TLS
judge     what an answer means for the delivery              deliveries   what must survive a restart
channel   delivers alarms: retries, receivers in order, heartbeats
centre    a simulated alarm receiving centre that misbehaves on demand
"""

from tryggport.scaip.channel import ScaipChannel
from tryggport.scaip.deliveries import Outcome
from tryggport.scaip.message import Reply, Request, ScaipError, parse

__all__ = ["Outcome", "Reply", "Request", "ScaipChannel", "ScaipError", "parse"]
