#!/bin/bash
# The images that kubeadm asks for, laid into the node's containerd: one layer with all of the control plane's programs,
# under every name, and a configuration for each of the three ways in which it is entered.
set -euo pipefail
store=/tmp/store
layer=/tmp/layer
mkdir -p "$store/blobs/sha256" "$layer"/{usr/local/bin,usr/sbin,tmp,etc/ssl/certs}
chmod 1777 "$layer/tmp"

cp /usr/local/bin/kube /context/pods/* "$layer/usr/local/bin/"
for name in apiserver controller-manager scheduler proxy; do ln -s kube "$layer/usr/local/bin/kube-$name"; done
cp /etc/ssl/certs/ca-certificates.crt "$layer/etc/ssl/certs/"
# kube-proxy calls iptables: the program, each module that it loads by name, and what they are linked with.
modules=(/usr/lib/*/xtables/*.so)
{ printf '%s\n' /usr/sbin/xtables-nft-multi "${modules[@]}"
  ldd /usr/sbin/xtables-nft-multi "${modules[@]}" | grep -o '/lib[^ :]*' | sort -u
} | while read -r file; do cp --parents -L "$file" "$layer/"; done
for name in iptables ip6tables; do for verb in '' -save -restore; do ln -s xtables-nft-multi "$layer/usr/sbin/$name$verb"; done; done

# blob FILE: move it into the store, print its descriptor without a media type
blob() {
  local digest; digest=$(sha256sum < "$1" | cut -d' ' -f1)
  printf '"digest": "sha256:%s", "size": %s' "$digest" "$(stat -c %s "$1")"
  mv "$1" "$store/blobs/sha256/$digest"
}

tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$layer" -cf /tmp/layer.tar .
diff=$(sha256sum < /tmp/layer.tar | cut -d' ' -f1)
layer_blob=$(blob /tmp/layer.tar)

# image ENTRYPOINT: store an image of the layer, print the descriptor of its manifest
image() {
  cat > /tmp/config <<EOF
{"created": "2026-01-01T00:00:00Z", "architecture": "$(dpkg --print-architecture)", "os": "linux",
 "config": {"Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Entrypoint": $1},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$diff"]}}
EOF
  cat > /tmp/manifest <<EOF
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
 "config": {"mediaType": "application/vnd.oci.image.config.v1+json", $(blob /tmp/config)},
 "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", $layer_blob}]}
EOF
  printf '"mediaType": "application/vnd.oci.image.manifest.v1+json", %s' "$(blob /tmp/manifest)"
}

component=$(image null)
coredns=$(image '["/usr/local/bin/coredns"]')
pause=$(image '["/usr/local/bin/pause"]')

names=$(kubeadm config images list --kubernetes-version "$(cat /kind/version)")
manifests=$(for name in $names; do
  case $name in */coredns:*) of=$coredns ;; */pause:*) of=$pause ;; *) of=$component ;; esac
  printf '{%s, "annotations": {"io.containerd.image.name": "%s"}}\n' "$of" "$name"
done | paste -sd,)
echo "{\"schemaVersion\": 2, \"manifests\": [$manifests]}" > "$store/index.json"
echo '{"imageLayoutVersion": "1.0.0"}' > "$store/oci-layout"

# kubeadm tells the kubelet, but not containerd, which pause it means.
sed -i "s#^\( *sandbox_image\) = .*#\1 = \"$(grep pause <<< "$names")\"#" /etc/containerd/config.toml

cat > /tmp/containerd.toml <<'EOF'
version = 3
state = "/tmp/containerd"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]
[grpc]
  address = "/tmp/containerd.sock"
[ttrpc]
  address = "/tmp/containerd.sock.ttrpc"
EOF
containerd --config /tmp/containerd.toml > /tmp/containerd.log 2>&1 &
for _ in $(seq 50); do ctr -a /tmp/containerd.sock version > /dev/null 2>&1 && break; sleep 0.1; done
tar -C "$store" -cf - . | ctr -a /tmp/containerd.sock -n k8s.io images import \
  --label=io.cri-containerd.pinned=pinned --all-platforms --no-unpack - || { cat /tmp/containerd.log; exit 1; }
kill %1 && wait %1 || true
rm -rf /tmp/*
