"""What every connector must keep, written against the interface alone: derive from it, and give it a `World`.

The one rule: what a connector does not declare it refuses; everything it declares is tested here, in the same words for every CRM.
"""

from tests.crm_sync.contract_cards import CardContract
from tests.crm_sync.contract_people import PeopleContract
from tests.crm_sync.contract_tickets import TicketContract
from tests.crm_sync.contract_trouble import TroubleContract
from tests.crm_sync.contract_writing import WritingContract


class ConnectorContract(PeopleContract, WritingContract, TicketContract, CardContract, TroubleContract):
    """Derive from this as `Test…` in a module with a fixture `world`, which makes an empty CRM for each test."""
