"""Requests in, answers out. Only views know status codes."""
