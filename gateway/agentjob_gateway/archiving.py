"""The parts of a gateway that read every job's lines: for the audit, and to keep them where the settings say so."""

from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agentjob_api.names import Key
from agentjob_gateway import archive as archives
from agentjob_gateway.archive import Archive
from agentjob_gateway.audit import Audit
from agentjob_gateway.audited import Audited
from agentjob_gateway.cache import JobCache
from agentjob_gateway.hub import Hub
from agentjob_gateway.keeper import MOST, Keeper
from agentjob_gateway.metrics import Metrics
from agentjob_gateway.peers import Peers
from agentjob_gateway.record import PACE, ArchiveCounts, Pace
from agentjob_gateway.retention import Retention
from agentjob_gateway.second import Seconds
from agentjob_gateway.settings import Settings
from agentjob_gateway.standby import Standby
from agentjob_kube.client import Client

Part = Coroutine[Any, Any, None]


class Place(NamedTuple):
    """The gateway around them."""

    settings: Settings
    client: Client
    cache: JobCache
    hub: Hub
    metrics: Metrics
    peers: Peers


def opened(settings: Settings) -> Archive | None:
    """The archive; None where the settings name none.

    Raises:
        ArchiveError: there can be none where they say.
    """
    return archives.opened(settings.archive.url) if settings.archive is not None else None


def peers_of(settings: Settings) -> Peers:
    """The replicas, which nobody has told of yet."""
    return Peers(settings.pod_name if settings.peers is not None else None)


def parts(place: Place, archive: Archive | None) -> list[Part]:
    """What is to be run; each part works for ever."""
    settings, cache, peers = place.settings, place.cache, place.peers
    pace = Pace(part_seconds=settings.archive.part_seconds) if settings.archive is not None else PACE
    counts = ArchiveCounts()
    keeper = Keeper(
        cache=cache,
        peers=peers,
        archive=archive,
        standby=Standby(place.hub, MOST, Seconds(place.hub, archive, pace, counts).begin if archive else None),
        source=Audited(place.hub, Audit()),
        client=place.client,
        clock=now,
        pace=pace,
        counts=counts,
    )
    place.metrics.show_archive(counts)
    found = [keeper.run()]
    if archive is not None:
        found.append(Retention(archive=archive, cache=cache, peers=peers, clock=now).run())
    if settings.peers is not None:
        found.append(peers.run(place.client, Key(settings.peers.namespace, settings.peers.service)))
    return found


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)
