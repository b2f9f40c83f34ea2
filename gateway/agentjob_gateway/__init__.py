"""The doors to AgentJobs for those who do not use kubectl: REST, server-sent events, MCP."""
