"""Components of a node held still or taken away for a while, so that a cluster can be seen to fail."""

from dataclasses import dataclass
from typing import Final

from deploy.changes import Change

LONGEST: Final = 120
"""Seconds after which a node is well again, whatever has become of whoever made it suffer."""
WELL_SECONDS: Final = 90
ROLLOUT_SECONDS: Final = 100
"""A kubelet that could not reach the API server asks again up to a minute later: it waits twice as long each time, and
only after two minutes without a failure as little as at first."""


@dataclass(frozen=True)
class StaticPod:
    """A component that the kubelet runs from a file on the node: one process of the same name."""

    name: str
    is_well: str
    """A command that succeeds when it serves."""
    dependents: tuple[str, ...] = ()
    """Others of this kind that are taken away meanwhile.

    They would exit, because they cannot renew the leases that they lead by, and the kubelet starts them the later the
    more often they did; held still and let go, they would take all nodes for lost that could not be heard. The leases,
    of the same names, are ended, or those that come would wait for them to expire.
    """
    hearers: tuple[str, ...] = ()
    """What is started anew: it would hear of Services and their addresses up to half a minute late, of the API server's
    own too.
    """
    keeps_kubelet_waiting: bool = False
    """Whether the API server gives no answer without it. The kubelet, which asks about each static Pod that is gone
    before it looks at those that have come, would wait 34 s each time, and start this one up to three minutes late. So
    it is refused meanwhile, at once; nobody else reaches the API server from the node itself.
    """

    def frozen(self) -> Change:
        """It is there and does nothing: connections are taken, nobody answers."""
        begin = (_take(*self.dependents), _signal("STOP", self.name))
        end = (f"{_signal('CONT', self.name)} || true", self._recover())
        return Change("; ".join(begin), "; ".join(end))

    def gone(self) -> Change:
        """It was killed, and is not started again: connections are refused."""
        refuse = (f"iptables -w -I {_OF_KUBELET}",) if self.keeps_kubelet_waiting else ()
        begin = (*refuse, _take(*self.dependents, self.name))
        end = (_give(self.name), self._recover())
        return Change("; ".join(begin), "; ".join(end))

    def _recover(self) -> str:
        """What depends on it is given back in any case: a cluster without a scheduler fails whatever comes next.

        An API server that has just become ready may not know yet what the administrator may do.
        """
        leases = _until(_kubectl(f"delete leases --ignore-not-found {' '.join(self.dependents)}"))
        well = f"{_until(self.is_well)} || unwell=1"
        hear = (f"iptables -w -D {_OF_KUBELET} || true",) if self.keeps_kubelet_waiting else ()
        steps = [well, *hear, f"{leases} || unwell=1", _give(*self.dependents)]
        steps.append('test -z "$unwell"')
        for hearer in self.hearers:
            steps.append(_kubectl(f"rollout restart {hearer}"))
            steps.append(_kubectl(f"rollout status {hearer} --timeout={ROLLOUT_SECONDS}s"))
        return "; ".join(steps)


_OF_KUBELET: Final = "OUTPUT -o lo ! -d 127.0.0.1 -p tcp --dport 6443 -j REJECT --reject-with tcp-reset"
_ETCD_FILES: Final = (("cacert", "ca.crt"), ("cert", "server.crt"), ("key", "server.key"))


def _take(*pods: str) -> str:
    """Killed: asked to end, the API server serves those who are connected for half a minute more."""
    moves = [f"mv {_file(pod)} {_aside(pod)}" for pod in pods]
    return "; ".join([*moves, *(_until(f"! {_signal('KILL', pod)}") for pod in pods)])


def _give(*pods: str) -> str:
    """Under another uid: the kubelet lets a Pod of one uid wait the longer before it starts the more often it ended."""
    uid = r'sed -i "/^  uid: /d; s/^metadata:/&\n  uid: $(cat /proc/sys/kernel/random/uuid)/"'
    backs = (f"{uid} {_aside(pod)}; mv {_aside(pod)} {_file(pod)}" for pod in pods)
    return "; ".join(f"if test -e {_aside(pod)}; then {back}; fi" for pod, back in zip(pods, backs, strict=True))


def _file(pod: str) -> str:
    return f"/etc/kubernetes/manifests/{pod}.yaml"


def _aside(pod: str) -> str:
    return f"/etc/kubernetes/{pod}.yaml"


def _signal(signal: str, process: str) -> str:
    """Fails when there is none. By its command line: the kernel cuts a process's name at 15 bytes."""
    return f'pkill -{signal} -f "^{process} "'


def _kubectl(words: str) -> str:
    return f"kubectl --kubeconfig=/etc/kubernetes/admin.conf -n kube-system {words} >/dev/null"


def _until(condition: str) -> str:
    return f"timeout {WELL_SECONDS} bash -c 'until {condition} >/dev/null; do sleep 0.2; done'"


API_SERVER: Final = StaticPod(
    "kube-apiserver",
    is_well="curl --silent --fail --insecure --max-time 2 https://127.0.0.1:6443/readyz",
    dependents=("kube-controller-manager", "kube-scheduler"),
    hearers=("daemonset/kube-proxy", "deployment/coredns"),
)


ETCD: Final = StaticPod(
    "etcd", is_well=API_SERVER.is_well, dependents=API_SERVER.dependents, keeps_kubelet_waiting=True
)
_ETCD_CURL = " ".join(
    (
        "curl --silent --fail --max-time 10",
        *(f"--{name} /etc/kubernetes/pki/etcd/{file}" for name, file in _ETCD_FILES),
    )
)


def compacted(fault: Change) -> Change:
    """The fault, after whose end etcd forgets all that was before: who watches from there is told 410."""
    ask = f"{_ETCD_CURL} https://127.0.0.1:2379/v3"
    revision = f"$({ask}/maintenance/status -d '{{}}' | grep -o '\"revision\":\"[0-9]*' | grep -o '[0-9]*$')"
    forget = f'{ask}/kv/compaction -d "{{\\"revision\\": {revision}}}" >/dev/null'
    return Change(fault.begin, f"{fault.end}; {forget}")


def restarted(unit: str) -> Change:
    """A service of the node that systemd starts anew."""
    return Change(f"systemctl restart {unit}", _until(f"systemctl is-active {unit}"))


def stopped(unit: str) -> Change:
    """A service of the node that is not there for a while."""
    return Change(f"systemctl stop {unit}", f"systemctl start {unit}; {_until(f'systemctl is-active {unit}')}")
