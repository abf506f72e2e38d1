"""Keys and certificates: one root, one device CA, the broker's and the receiver's, and two certificates a gateway."""

from tryggport.pki.authority import Names, init, issue_workers, renew
from tryggport.pki.gateways import DeviceCertificates, check_gateway_id, issue_device
from tryggport.pki.overview import show

__all__ = ["DeviceCertificates", "Names", "check_gateway_id", "init", "issue_device", "issue_workers", "renew", "show"]
