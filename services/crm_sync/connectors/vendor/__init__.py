"""What all connectors to a vendor's HTTP API stand on.

opened       the accounts of all workspaces
remembered   what an account was asked, kept for a while
site         one account: requests, typed answers, and what a failure means
reach        where a name may lead
logins       access tokens, fixed or renewed
tokens       where renewed ones are kept, one renewal at a time for all workers
"""
