"""Who is calling: API keys of people and services, tokens of agents, and what each may do.

A key is `yk_<id>_<secret>`; an agent's token is `ya_<agent id>_<secret>`. Only an HMAC of the secret is stored.
"""
