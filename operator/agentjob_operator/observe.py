"""What is known of a job at this moment, from the store alone: a look costs the API server nothing."""

from datetime import datetime

from agentjob_api.names import Key
from agentjob_operator.store import Store
from agentjob_operator.world import Keeping, QueueView, World


def observe(store: Store, key: Key, keeping: Keeping, queue: QueueView, now: datetime) -> World:
    """The world of one job. `queue`: how it stands with the limits at this moment."""
    pods = store.pods(key)
    return World(
        key=key,
        job=store.jobs.get(key),
        pods=pods,
        refusal=store.refusal(key),
        read={pod.uid: store.read[pod.uid] for pod in pods if pod.uid in store.read},
        keeping=keeping,
        queue=queue,
        now=now.replace(microsecond=0),
    )
