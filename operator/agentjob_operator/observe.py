"""What is known of a job at this moment, from the store alone: a look costs the API server nothing."""

from datetime import datetime

from agentjob_api.names import Key
from agentjob_operator.store import Store
from agentjob_operator.world import Keeping, World


def observe(store: Store, key: Key, keeping: Keeping, now: datetime) -> World:
    """The world of one job."""
    job = store.jobs.get(key)
    pods = store.pods(key)
    refusal = store.refusals.get(key)
    if refusal is not None and (job is None or refusal.job != job.metadata.uid):
        refusal = None
    return World(
        key=key,
        job=job,
        pods=pods,
        refusal=refusal,
        read={pod.uid: store.read[pod.uid] for pod in pods if pod.uid in store.read},
        keeping=keeping,
        now=now.replace(microsecond=0),
    )
