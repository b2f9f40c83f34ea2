"""A Kubernetes API server small enough to read: what AgentJob uses of it, and how it refuses.

`FakeCluster` serves it over HTTP on loopback from a thread of its own, so that a program under test may block, be
cancelled or take its event loop down without taking the cluster along. It has no kubelet and no scheduler: a test says
itself what becomes of a Pod (`kubelet.py`), or lets `Instant` end every Pod at once. tests/contract holds it to the
same suite as a real cluster.
"""

from fake_cluster.cluster import FakeCluster
from fake_cluster.faults import Fault

__all__ = ["FakeCluster", "Fault"]
