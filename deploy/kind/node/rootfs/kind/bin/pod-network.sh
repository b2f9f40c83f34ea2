#!/bin/bash
# The network of this node's Pods: an address range, routes to the other nodes' ranges, no way out, and NetworkPolicy
# before everything. The node with the address A.B.C.N has the Pods of 10.244.N.0/24; the nodes' own network is a /24.
set -euo pipefail
pods=10.244
queue=100
read -r address < <(ip -4 -o addr show dev eth0 | awk '{sub("/.*", "", $4); print $4}')
number=${address##*.}

cat > /etc/cni/net.d/10-pods.conflist <<EOF
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {
    "type": "host-local", "dataDir": "/run/pod-addresses",
    "ranges": [[{"subnet": "$pods.$number.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "pod-name"}]}
EOF
sysctl -qw net.ipv4.ip_forward=1

# Sealed: what is neither Pod nor Service nor on the nodes' own network leads into a cable whose other end nobody holds,
# and is told "no route to host" at once. Otherwise a Service address without endpoints, or a Pod's request to anywhere,
# would be answered by whatever is outside. An unreachable route would do, but the kernel tells so only once a second.
ip link add sealed type veth peer name nobody
ip link set sealed up
ip link set nobody up
ip route replace default dev sealed
sysctl -qw net.ipv4.icmp_ratemask=0
for chain in FORWARD OUTPUT; do
  iptables -A $chain -o sealed -p udp -j REJECT --reject-with icmp-port-unreachable    # the one that UDP listens to
  iptables -A $chain -o sealed -j REJECT --reject-with icmp-host-unreachable
done
# Docker's name server, which kind lets Pods use too, would ask outside on their behalf.
iptables -t nat -F PREROUTING

for other in $(seq 1 254); do
  if [ "$other" = "$number" ]; then
    echo "route replace $pods.$other.0/24 dev sealed"     # a Pod that is gone; those that are there have their own routes
  else
    echo "route replace $pods.$other.0/24 via ${address%.*}.$other dev eth0"
  fi
done | ip -batch -
# Other containers on the nodes' network know no Pods: they see the node.
iptables -t nat -A POSTROUTING -s $pods.0.0/16 ! -d $pods.0.0/16 -o eth0 -j MASQUERADE

# The first packet of a connection from or to a Pod waits in the queue for netpol's word; while netpol is not there, it
# is dropped. In INPUT too, or Pods would reach the node itself, and with it the API server, whatever a policy says. What
# the node itself sends passes: a policy never cuts the kubelet's probes.
for chain in POSTROUTING INPUT; do
  iptables -t mangle -A $chain -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
  iptables -t mangle -A $chain -m addrtype --src-type LOCAL -j ACCEPT
  iptables -t mangle -A $chain -s $pods.0.0/16 -j NFQUEUE --queue-num $queue
done
iptables -t mangle -A POSTROUTING -d $pods.0.0/16 -j NFQUEUE --queue-num $queue
