from tests.crm_sync.connector_contract import ConnectorContract


class TestTryton(ConnectorContract):
    pass
