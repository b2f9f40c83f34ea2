"""What the gateway asks of the API server: its Role, and not one verb more.

The chart's Role is tested against this table, and the table against the requests that the gateway makes.
"""

from agentjob_api.names import GROUP, PLURAL
from agentjob_kube.access import Access

ACCESS = (
    Access(GROUP, PLURAL, frozenset({"get", "list", "watch", "create", "patch", "delete"})),
    Access(GROUP, f"{PLURAL}/status", frozenset({"patch"})),
    Access("", "pods/log", frozenset({"get"})),
)
"""Everything. No Secrets: the kubelet brings the hashes of the API keys. No Pods: a job's status names its own.

- agentjobs: `get` finds a job that another replica has just made; `patch` cancels one.
- agentjobs/status: `patch` sets the condition Archived, by server-side apply: all else in the status stays.
- pods/log: the agent's messages.

Where Kubernetes tokens are accepted, the ClusterRole system:auth-delegator comes beside it: TokenReviews and
SubjectAccessReviews can be created, and nothing else.
"""

HOME_ACCESS = (Access("discovery.k8s.io", "endpointslices", frozenset({"list", "watch"})),)
"""In the gateway's own namespace: which replicas there are to share the jobs that are to be read to their ends."""
