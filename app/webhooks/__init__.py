"""Outgoing webhooks: a tenant's events, signed, delivered at least once, with a log of every delivery.

A leader reads each webhook's feed from its cursor and writes one delivery an event, moving the cursor in the same
transaction; any manager sends what is due. The signature is that of Standard Webhooks.
"""
