"""What every worker stands on: the runner, Faust transport, ledger, settings, metrics, health and logs. No business rule."""
