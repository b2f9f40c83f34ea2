#!/bin/sh
# The first process of a private Docker engine, in namespaces of its own for processes and mounts.
#   engine.sh GROUP DIRECTORY [RUNTIME]
# GROUP is the control group of its containers, DIRECTORY holds its state, RUNTIME wraps runc where that is needed.
set -eu
group=$1 directory=$2 runtime=${3:-runc}

# What it keeps in /run goes with it. Where /etc/resolv.conf is a link into /run, builds need that file too.
resolver=$(readlink -f /etc/resolv.conf)
servers=$(cat "$resolver")
mount --no-mtab -t tmpfs -o mode=755 agentjob /run
case $resolver in /run/*) mkdir -p "${resolver%/*}" && printf '%s\n' "$servers" > "$resolver" ;; esac

exec tini -- dockerd --host "unix://$directory/docker.sock" --data-root "$directory/data" \
  --bridge none --iptables=false --ip6tables=false --ip-forward=false --default-address-pool base=172.29.0.0/16,size=24 \
  --cgroup-parent "$group" --exec-opt native.cgroupdriver=cgroupfs \
  --add-runtime "agentjob=$runtime" --default-runtime agentjob --log-level warn
