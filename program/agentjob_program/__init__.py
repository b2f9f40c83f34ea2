"""What a server of AgentJob's is, whatever it serves: its settings file, its log, its probes and metrics."""
