"""The receiver: verifies what gateways send, stores it, receipts it, and keeps the cases that people answer."""

from tryggport.reception.database import Database, open_database
from tryggport.reception.handover import Bridge, SqlDeliveries
from tryggport.reception.lease import Lease
from tryggport.reception.seats import Seat
from tryggport.reception.service import Reception

__all__ = ["Bridge", "Database", "Lease", "Reception", "Seat", "SqlDeliveries", "open_database"]
