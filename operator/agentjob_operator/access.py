"""What the operator asks of the API server: its Role, and not one verb more.

The chart's Role is tested against this table, and the table against the requests that the operator makes.
"""

from agentjob_api.names import GROUP, PLURAL
from agentjob_kube.access import Access

ACCESS = (
    Access(GROUP, PLURAL, frozenset({"get", "list", "watch", "delete"})),
    Access(GROUP, f"{PLURAL}/status", frozenset({"update"})),
    Access("", "pods", frozenset({"get", "list", "watch", "create", "patch", "delete"})),
    Access("", "pods/log", frozenset({"get"})),
    Access("events.k8s.io", "events", frozenset({"create"})),
)
"""Everything in the job namespaces. No Secrets and no ConfigMaps: what a job refers to is read by the kubelet alone.

- agentjobs: `get` makes sure that a job is gone before its Pods are deleted; `delete` ends its time to live.
- agentjobs/status: `update`, because status is written whole.
- pods: `get` shows whose Pod already has the name of a new one; `patch` stops an agent and leaves its Pod to be read.
- pods/log: the agent's answer, where the termination message does not hold all of it.
"""

HOME_ACCESS = (Access("coordination.k8s.io", "leases", frozenset({"get", "create", "patch"})),)
"""In the operator's own namespace: the Lease by which several agree on the one that acts."""
