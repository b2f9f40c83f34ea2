"""The Kubernetes API as AgentJob uses it: connect, request, errors, list and watch, the tail of a log."""
