#!/bin/bash
# systemd and its units, as a node in a container needs them (kind's images/base/Dockerfile does the same to its base).
set -euo pipefail

# Nothing that belongs to a machine: devices, consoles, mounts, the kernel's log, host-wide settings.
rm -f /lib/systemd/system/{multi-user,local-fs,basic}.target.wants/* /etc/systemd/system/*.wants/* \
  /lib/systemd/system/sockets.target.wants/*{udev,initctl}* \
  /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service /usr/lib/sysctl.d/50-pid-max.conf
echo ReadKMsg=no >> /etc/systemd/journald.conf
ln -sf /usr/lib/systemd/systemd /sbin/init
systemctl mask systemd-binfmt.service
systemctl enable kubelet containerd undo-mount-hacks pod-network netpol.path

# Asked from name servers that a node does not reach, it would hold up every start for 5 s.
sed -i "s/timeout 5 getent ahostsv4 'host.docker.internal'/false/" /usr/local/bin/entrypoint

# Where the machine lacks CAP_SYS_RESOURCE, nothing may lower its OOM score.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' /etc/containerd/config.toml
sed -i '/^OOMScoreAdjust=/d' /etc/systemd/system/containerd.service
# Since 1.35 the kubelet refuses control groups of version 1 unless told otherwise.
echo "KUBELET_EXTRA_ARGS=--runtime-cgroups=/system.slice/containerd.service --fail-cgroupv1=false --oom-score-adj=0" \
  > /etc/default/kubelet
ctr oci spec | jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
  > /etc/containerd/cri-base.json

for name in kubelet kubectl; do ln -s /usr/local/bin/kube /usr/bin/$name; done
mkdir -p /etc/kubernetes/manifests /etc/cni/net.d /opt/cni /lib/modules
ln -s /usr/lib/cni /opt/cni/bin
kubeadm version -o short > /kind/version
