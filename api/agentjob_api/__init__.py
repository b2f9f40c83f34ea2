"""What the programs of AgentJob agree on: the resource, its names, and the contracts between operator and runner.

Pure data and functions of data: this package imports pydantic and the standard library only.
"""
