"""Keys and certificates: one root, one device CA, the broker's and the receiver's, and two certificates a gateway."""

from tryggport.pki.authority import Names, init
from tryggport.pki.gateways import DeviceCertificates, issue_device
from tryggport.pki.overview import show

__all__ = ["DeviceCertificates", "Names", "init", "issue_device", "show"]
