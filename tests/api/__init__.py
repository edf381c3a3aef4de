"""The REST API over HTTP: what each operation does, what it refuses, and what it promises in its OpenAPI document."""
