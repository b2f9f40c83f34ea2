"""The operator: turns AgentJobs into runner Pods, and what became of them into status."""
