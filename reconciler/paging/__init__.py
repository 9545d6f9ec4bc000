"""The webhook of `alerts.webhook`: the audit judges its own alarms, for those who have no Prometheus.

conditions  what the Prometheus rules ask, asked of the ledger: same alerts, same limits
alarm       one alarm from its first sign to its end, as a value: pending, firing, resolved
quiet       which of them need not be told while another one stands
message     what is sent: the JSON that Alertmanager's webhooks send
book        alarms in the ledger, moved under the audit's lease, so that a restart or a hand-over repeats none
webhook     asks, remembers, sends; beside the audit, which never waits for it
"""
